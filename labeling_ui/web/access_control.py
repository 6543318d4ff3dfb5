"""Access control of the web server: roles, requests from other sites, security headers, the log of what was refused.

`Guard` stands before everything that the server answers, Gradio's own endpoints included; nothing behind it is reached
without a session that is still valid. Handlers then ask for the `person`, or `require` a role, themselves.

Left out on purpose: signing sessions (`people/sessions.py`), accounts (`people/accounts.py`), and TLS: a proxy in front
has it, and says so in `X-Forwarded-Proto`, which uvicorn believes from the addresses in FORWARDED_ALLOW_IPS (default:
this machine).
"""

import logging
from collections.abc import Awaitable, Callable

from anyio import to_thread
from fastapi import HTTPException
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from foundation.errors import UserError
from labeling_ui.data_model import ROLES, Annotator, Role
from labeling_ui.people.accounts import Accounts
from labeling_ui.people.audit import Origin
from labeling_ui.people.sessions import Sessions
from labeling_ui.web import translations
from labeling_ui.web.proxy.mistakes import ELSEWHERE, foreign
from labeling_ui.web.proxy.root_path import place, root_of
from labeling_ui.web.templates import render

SIGNED_OUT = "You are signed out. Reload the page to sign in."
SOMEBODY_ELSE = "Refused: somebody else has signed in with this browser since this page was loaded. Reload the page."
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
_FORWARDED = (b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-for", b"x-gradio-server", b"forwarded")
# What Gradio's page asks for. The rest of its API (files by URL, uploads, calls by name) is nobody's.
_GRADIO = ("queue/", "heartbeat/", "startup-events", "app_id", "user", "theme.css", "login_check", "cancel", "reset")


class Guard:
    """ASGI middleware: own site only, who is signed in and may see the place only, security headers on every answer.

    Tabs share the session. So what a page sends names the person who was signed in when it was loaded, scripts in the
    header `x-page-of` (`static/whose_page.html`), forms in the query as `page-of`: nothing is done or shown as another.
    """

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
                renewed = scope["state"].get("renewed")
                if renewed and "set-cookie" not in headers:  # signing in or out says more
                    headers.append("set-cookie", renewed)
                if scope["scheme"] == "https":
                    headers.setdefault("strict-transport-security", "max-age=31536000")
            await send(message)

        connection = HTTPConnection(scope)
        answer = await self._refusal(connection) or self.app
        await answer(scope, receive, send_with_headers)

    async def _refusal(self, connection: HTTPConnection) -> Response | None:
        scope, path, asks = connection.scope, place(connection), None
        scope.setdefault("state", {})["person"] = None
        if scope["method"] not in ("GET", "HEAD") and (why := foreign(connection)):
            refused(connection, "from another site" if why == ELSEWHERE else f"from another site: {why}")
            return _said(connection, why)
        _forget_forwarded(scope)
        session = self._sessions.read(connection)
        if session is not None:
            try:
                asks = await to_thread.run_sync(self._accounts.session, session.annotator_id, session.version)
            except UserError as error:
                logging.getLogger(__name__).error("a session could not be checked: %s", error)
                return JSONResponse({"detail": UNUSABLE}, 503)
            scope["state"]["person"] = asks
            scope["state"]["renewed"] = self._sessions.renewal(connection, session) if asks else None
            if asks is None:
                refused(connection, "session ended")
        page_of = connection.headers.get("x-page-of", connection.query_params.get("page-of"))
        if asks is not None and page_of not in (None, asks.id):
            refused(connection, "from somebody else's page", logging.INFO)
            return _said(connection, SOMEBODY_ELSE)
        if path in _OPEN_TO_ALL or path.startswith("/invitation/"):
            return None
        if asks is None:
            if scope["method"] == "GET" and "text/html" in connection.headers.get("accept", ""):
                return RedirectResponse(f"{root_of(connection)}/sign-in", 303)
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
    path = place(connection)
    shown = "/invitation/…" if path.startswith("/invitation/") else path
    found = signed_in(connection)
    log.log(
        level, "refused, %s: %s %a from %a, person %s", why, connection.scope.get("method", "-"), shown[:200],
        address(connection)[:60], found.id if found else "unknown",
    )  # fmt: skip


def origin(connection: HTTPConnection) -> Origin:
    """Who asks and from where, for the audit log."""
    found = signed_in(connection)
    return Origin(found.id if found else None, address(connection))


def address(connection: HTTPConnection) -> str:
    """The network address that the request came from, as uvicorn and a trusted proxy tell it."""
    return connection.client.host if connection.client else "unknown"


def _said(connection: HTTPConnection, why: str) -> Response:
    """A refusal as a page for a form, as JSON for anything else."""
    if "text/html" not in connection.headers.get("accept", ""):
        return JSONResponse({"detail": why}, 403)
    asked = connection.cookies.get(translations.COOKIE), connection.headers.get("accept-language")
    page = render("refused.html", language=translations.choose(*asked), problem=why)
    return HTMLResponse(page, 403, PLAIN_PAGE)


def _forget_forwarded(scope: Scope) -> None:
    """Take away what uvicorn has believed or not by now: Gradio would believe it from anybody."""
    scope["headers"] = [header for header in scope["headers"] if header[0] not in _FORWARDED]


def _is_for_pages(path: str) -> bool:
    rest = path.removeprefix("/admin")
    if rest.startswith("/gradio_api"):
        return rest.removeprefix("/gradio_api/").startswith(_GRADIO)
    return not rest.startswith(("/monitoring", "/login", "/logout", "/svelte", "/pwa_icon"))
