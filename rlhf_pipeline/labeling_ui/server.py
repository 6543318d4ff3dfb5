"""The web server around the labeling page: who is asking, and whether to answer at all.

An annotator signs in with a name, kept in a signed SameSite=Lax cookie. Nothing but the sign-in page is
served without one, and requests that change something are refused when they come from another site.
Left out on purpose: passwords and roles; on anything but a trusted network, put a proxy that has them in front.

    serve("runs/mine/labels.db", port=7860)
"""

import contextlib
import errno
import os
import secrets
import socket
import unicodedata
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import gradio as gr
import uvicorn
from fastapi import FastAPI, Form, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from sqlalchemy import make_url
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.sessions import SessionMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rlhf_pipeline.errors import UserError
from rlhf_pipeline.labeling_ui.app import STATIC, build_blocks, templates
from rlhf_pipeline.labeling_ui.store import Store

LONGEST_NAME = 60
SESSION_DAYS = 14

# Gradio needs inline scripts, and eval for its templates. What counts: nothing is fetched from or sent to elsewhere.
_HEADERS = {
    "content-security-policy": "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; form-action 'self'; base-uri 'self'; object-src 'none'; frame-ancestors 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}


def build_app(store: Store, secret: str | None = None) -> FastAPI:
    """The whole web application over `store`.

    `secret` signs sessions and tickets; without one a random secret is made, and sign-ins end with the process.
    Raises `UserError` where the store holds nothing to label.
    """
    if not store.counts().tasks:
        raise UserError(
            "there is nothing to label: the database holds no pairs of responses. "
            "Collect responses first (make collect, or rlhf collect), or bring existing ones with rlhf import."
        )
    secret = secret or secrets.token_hex(32)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/sign-in", response_model=None)
    def ask_name(request: Request) -> Response:
        return RedirectResponse("./", 303) if _identity(request) else _sign_in_page()

    @app.post("/sign-in", response_model=None)
    def sign_in(request: Request, name: Annotated[str, Form()] = "") -> Response:
        tidy = tidy_name(name)
        try:
            if not tidy:
                raise UserError(f"Please give a name of up to {LONGEST_NAME} letters.")
            store.annotator(tidy)
        except UserError as error:
            return _sign_in_page(str(error), name, 422)
        request.session["annotator"] = tidy
        return RedirectResponse("./", 303)

    @app.post("/sign-out", response_model=None)
    def sign_out(request: Request) -> Response:
        request.session.clear()
        return RedirectResponse("sign-in", 303)

    gr.mount_gradio_app(
        app,
        build_blocks(store, secret),
        path="/",
        auth_dependency=_identity,
        allowed_paths=[],
        max_file_size=1,  # byte: there is nothing to upload
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        pwa=False,
        footer_links=[],
        theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        css_paths=STATIC / "label.css",
    )
    app.add_middleware(Guard)
    app.add_middleware(
        SessionMiddleware,
        secret_key=secret,
        session_cookie="rlhf_session",
        max_age=SESSION_DAYS * 24 * 3600,
        same_site="lax",
    )
    return app


def serve(store_url: str | Path, host: str = "127.0.0.1", port: int = 7860) -> None:
    """Serve the labeling page until interrupted. `port` 0 takes any free one."""
    store = Store(store_url)
    try:
        with contextlib.closing(_listen(host, port)) as listener:
            app = build_app(store, kept_secret(store_url))
            shown_host = f"[{host}]" if ":" in host else host
            print(f"Label at http://{shown_host}:{listener.getsockname()[1]} (stop with Ctrl+C)", flush=True)
            config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)
            with contextlib.suppress(KeyboardInterrupt):
                uvicorn.Server(config).run(sockets=[listener])
    finally:
        store.close()


def tidy_name(name: str) -> str:
    """One spelling a name: composed Unicode, single spaces, nothing invisible; empty where it is not a name."""
    text = " ".join(unicodedata.normalize("NFC", name).split())
    printable = all(unicodedata.category(letter)[0] != "C" for letter in text)
    return text if printable and len(text) <= LONGEST_NAME else ""


class Guard:
    """ASGI middleware: own site only, signed in only, and security headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a refusal."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        await (_refusal(scope) or self.app)(scope, receive, send_with_headers)


def _refusal(scope: Scope) -> Response | None:
    headers = Headers(scope=scope)
    if scope.get("method") not in ("GET", "HEAD") and not _same_origin(headers):
        return JSONResponse({"detail": "Refused: the request comes from another site."}, 403)
    if scope["path"] in ("/sign-in", "/sign-out") or scope["session"].get("annotator"):
        return None
    if scope["path"] == "/" and "text/html" in headers.get("accept", ""):
        return RedirectResponse("sign-in", 303)
    return JSONResponse({"detail": "You are signed out. Reload the page to sign in."}, 401)


def _same_origin(headers: Headers) -> bool:
    """Browsers name the origin of every POST; what names none is no browser, and has no cookie to abuse."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "none") in ("same-origin", "none")
    return urlsplit(origin).netloc == headers.get("host")


def _identity(request: Request) -> str | None:
    name = request.session.get("annotator")
    return name if isinstance(name, str) else None


def _sign_in_page(problem: str = "", name: str = "", status: int = 200) -> HTMLResponse:
    page = templates.get_template("sign_in.html").render(problem=problem, name=name, longest=LONGEST_NAME)
    return HTMLResponse(page, status, {"cache-control": "no-store"})


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, OverflowError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        reason = "another program is using it" if taken else error
        raise UserError(
            f"cannot serve on {host}, port {port}: {reason}. Choose another with --host or --port."
        ) from error


def kept_secret(store_url: str | Path) -> str | None:
    """The secret beside a SQLite database, readable by its owner only, so that sign-ins outlive a restart."""
    text = str(store_url)
    if "://" in text:
        url = make_url(text)
        if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
            return None
        text = url.database
    path = Path(f"{text}.secret")
    if not path.exists():
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
        with contextlib.suppress(FileExistsError):  # another process was first: its secret holds
            os.link(partial, path)
        partial.unlink()
    return path.read_text(encoding="ascii").strip()
