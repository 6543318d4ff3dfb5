"""Access control of the web server: roles, requests from other sites, security headers, the log of what was refused.

`Guard` stands before everything that the server answers, Gradio's own endpoints included; nothing behind it is reached
without a session that is still valid. Handlers then ask for the `person`, or `require` a role, themselves.

Left out on purpose: signing sessions (`people/sessions.py`), accounts (`people/accounts.py`), and TLS: a proxy in front
has it, and says so in `X-Forwarded-Proto`, which uvicorn believes from the addresses in FORWARDED_ALLOW_IPS (default:
this machine).
"""

import logging
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from anyio import to_thread
from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foundation.errors import UserError
from labeling_ui.data_model import ROLES, Annotator, Role
from labeling_ui.people.accounts import Accounts
from labeling_ui.people.sessions import Sessions

SIGNED_OUT = "You are signed out. Reload the page to sign in."
ELSEWHERE = "Refused: the request comes from another site."
UNUSABLE = "The label store could not be used; nothing was saved."

log = logging.getLogger("rlhf.security")

# Gradio needs inline scripts, and eval for its templates. What counts: nothing is fetched from or sent to elsewhere.
_HEADERS = {
    "content-security-policy": "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; form-action 'self'; base-uri 'self'; object-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
# The pages that need no script at all: signing in is where a password is typed.
PLAIN_PAGE = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}
_OPEN_TO_ALL = ("/sign-in", "/sign-out", "/favicon.ico", "/robots.txt")
# What Gradio's page asks for. The rest of its API (files by URL, uploads, calls by name) is nobody's.
_GRADIO = ("queue/", "heartbeat/", "startup-events", "app_id", "user", "theme.css", "login_check", "cancel", "reset")


class Guard:
    """ASGI middleware: own site only, who is signed in and may see the place only, security headers on every answer."""

    def __init__(self, app: ASGIApp, accounts: Accounts, sessions: Sessions) -> None:
        self.app = app
        self._accounts = accounts
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a refusal."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # no page opens a web socket
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if scope["scheme"] == "https":
                    headers.setdefault("strict-transport-security", "max-age=31536000")
            await send(message)

        answer = await self._refusal(HTTPConnection(scope)) or self.app
        await answer(scope, receive, send_with_headers)

    async def _refusal(self, connection: HTTPConnection) -> Response | None:
        scope, path, asks = connection.scope, connection.scope["path"], None
        scope.setdefault("state", {})["person"] = None
        if scope["method"] not in ("GET", "HEAD") and not _same_origin(connection.headers):
            refused(connection, "from another site")
            return JSONResponse({"detail": ELSEWHERE}, 403)
        session = self._sessions.read(connection)
        if session is not None:
            try:
                asks = await to_thread.run_sync(self._accounts.session, *session)
            except UserError as error:
                logging.getLogger(__name__).error("a session could not be checked: %s", error)
                return JSONResponse({"detail": UNUSABLE}, 503)
            scope["state"]["person"] = asks
            if asks is None:
                refused(connection, "session ended")
        if path in _OPEN_TO_ALL or path.startswith("/invitation/"):
            return None
        if asks is None:
            if scope["method"] == "GET" and "text/html" in connection.headers.get("accept", ""):
                return RedirectResponse("/sign-in", 303)
            if session is None:
                refused(connection, "signed out", logging.INFO)
            return JSONResponse({"detail": SIGNED_OUT}, 401)
        behind_admin = path == "/admin" or path.startswith(("/admin/", "/export/"))
        if behind_admin and not may(asks, "reviewer"):
            refused(connection, "needs the role reviewer")
            return JSONResponse({"detail": "Refused: this page is for reviewers and admins."}, 403)
        if not _is_for_pages(path):
            refused(connection, "no page needs it")
            return JSONResponse({"detail": "There is nothing here."}, 404)
        return None


def signed_in(connection: HTTPConnection) -> Annotator | None:
    """The person whose session the request carries; None if `Guard` found none."""
    found = connection.scope.get("state", {}).get("person")
    return found if isinstance(found, Annotator) else None


async def person(request: Request) -> Annotator:
    """FastAPI dependency: who asks; 401 if nobody is signed in."""
    found = signed_in(request)
    if found is None:
        refused(request, "signed out")
        raise HTTPException(401, SIGNED_OUT)
    return found


def require(role: Role) -> Callable[[Request], Awaitable[Annotator]]:
    """FastAPI dependency: who asks, if they have `role` or one above it; 401 or 403 otherwise."""

    async def required(request: Request) -> Annotator:
        found = await person(request)
        if not may(found, role):
            refused(request, f"needs the role {role}")
            raise HTTPException(403, f"Refused: this needs the role {role}.")
        return found

    return required


def may(annotator: Annotator, role: Role) -> bool:
    """Whether the annotator has `role` or one above it: annotator, reviewer, admin."""
    return ROLES.index(annotator.role) >= ROLES.index(role)


def refused(connection: HTTPConnection, why: str, level: int = logging.WARNING) -> None:
    """Write down a refusal: what was asked and from where, but no query, body, token or password."""
    path = connection.scope["path"]
    place = "/invitation/…" if path.startswith("/invitation/") else path
    found = signed_in(connection)
    log.log(
        level, "refused, %s: %s %a from %a, person %s", why, connection.scope.get("method", "-"), place[:200],
        address(connection)[:60], found.id if found else "unknown",
    )  # fmt: skip


def address(connection: HTTPConnection) -> str:
    """The network address that the request came from, as uvicorn and a trusted proxy tell it."""
    return connection.client.host if connection.client else "unknown"


def _same_origin(headers: Headers) -> bool:
    """Browsers name the origin of every POST; what names none is no browser, and has no cookie to abuse."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "none") in ("same-origin", "none")
    return urlsplit(origin).netloc == headers.get("host")


def _is_for_pages(path: str) -> bool:
    place = path.removeprefix("/admin")
    if place.startswith("/gradio_api"):
        return place.removeprefix("/gradio_api/").startswith(_GRADIO)
    return not place.startswith(("/monitoring", "/login", "/logout", "/svelte", "/pwa_icon"))
