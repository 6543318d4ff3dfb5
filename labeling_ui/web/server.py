"""The web server: one FastAPI app with the labeling page, its JSON API, the admin page, sign-in and exports.

Everything stands behind `access_control.Guard`. The first start needs no set-up: while the store has no admin, `serve`
prints a link that makes whoever opens it first the admin. Left out on purpose: TLS, which a proxy in front has (see
`access_control.py`).

    serve("runs/mine/labels.db", port=7860)
"""

import contextlib
import errno
import json
import secrets
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import gradio as gr
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse
from starlette.middleware.body_limit import RequestBodyLimitMiddleware

from foundation.errors import UserError
from labeling_ui.data_model import Annotator
from labeling_ui.exchange.exports.registry import KINDS, rows
from labeling_ui.people.accounts import Accounts
from labeling_ui.people.sessions import Sessions
from labeling_ui.people.signing_secret import secret_beside_file, secret_in_database
from labeling_ui.store.store import Store
from labeling_ui.web import access_control, api, sign_in_pages
from labeling_ui.web.admin_page import build_admin_page
from labeling_ui.web.labeling_page import STATIC, build_labeling_page
from labeling_ui.web.live_prompts import Generate

LARGEST_REQUEST = 1 << 20  # bytes: an answer with a long rewrite is far below
FIRST_LINK_HOURS = 24.0


def build_app(store: Store, secret: str | None = None, generate: Generate | None = None) -> FastAPI:
    """The whole web application over `store`; `generate` answers typed prompts in campaigns that allow it.

    `secret` signs sessions and tickets; without one a random secret is made, and sign-ins end with the process.
    Raises `UserError` if the store holds nothing to label.
    """
    if not store.counts().tasks and generate is None:
        raise UserError(
            "there is nothing to label: the database holds no responses to judge. "
            "Collect responses first (make collect, or rlhf collect), or bring existing ones with rlhf import."
        )
    secret = secret or secrets.token_hex(32)
    accounts, sessions = Accounts(store.database), Sessions(secret)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(sign_in_pages.build_router(accounts, sessions))
    app.include_router(api.build_router(store, secret, generate))
    app.include_router(_exports(store))
    app.add_api_route("/admin", lambda: RedirectResponse("/admin/", 303), response_model=None)
    _mount(app, build_admin_page(store, accounts), "/admin", "admin.css")
    _mount(app, build_labeling_page(), "/", "label.css")
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=LARGEST_REQUEST)
    app.add_middleware(access_control.Guard, accounts=accounts, sessions=sessions)
    return app


def serve(store_url: str | Path, host: str = "127.0.0.1", port: int = 7860, generate: Generate | None = None) -> None:
    """Serve until interrupted. `port` 0 takes any free one."""
    store = Store(store_url)
    try:
        with contextlib.closing(_listen(host, port)) as listener:
            accounts = Accounts(store.database)
            app = build_app(store, secret_beside_file(store_url) or secret_in_database(store.database), generate)
            address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
            print(f"Label at {address} (stop with Ctrl+C)", flush=True)
            for notice in unasked(store, live=generate is not None):
                print(notice, flush=True)
            if not accounts.has_admin():
                token = accounts.invite("admin", hours=FIRST_LINK_HOURS)
                print(f"Nobody can administer this store yet. Open this link once, within a day, to become its admin:\n"
                      f"{address}/invitation/{token}", flush=True)  # fmt: skip
            config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2, server_header=False)
            with contextlib.suppress(KeyboardInterrupt):
                uvicorn.Server(config).run(sockets=[listener])
    finally:
        store.close()


def unasked(store: Store, live: bool) -> Iterator[str]:
    """A sentence for each campaign in which nobody is asked anything; `live`: people may type prompts."""
    for campaign in store.campaigns_without_tasks():
        if not (live and campaign.live):
            yield (
                f'The campaign "{campaign.name}" ({campaign.kind}) has no tasks: nobody is asked anything in it. '
                "Add some by `rlhf collect` or `rlhf import` with the same label settings."
            )


def _exports(store: Store) -> APIRouter:
    """Judgements as files, made as they are sent: nothing is left in a folder that others could read."""
    router = APIRouter()
    Reviewer = Annotated[Annotator, Depends(access_control.require("reviewer"))]

    @router.get("/export/{name:path}")
    def download(request: Request, name: str, _reviewer: Reviewer, campaign: str | None = None) -> Response:
        kind = name.removesuffix(".jsonl")
        known = campaign is None or campaign in {one.name for one in store.campaigns()}
        if kind not in KINDS or kind == name or not known:
            access_control.refused(request, "there is no such export")
            raise HTTPException(404, f"There is no such export. Choose one of {', '.join(KINDS)}.")
        return StreamingResponse(
            _lines(rows(store, kind, campaign)),
            media_type="application/jsonl",
            headers={"content-disposition": f'attachment; filename="{kind}.jsonl"', "cache-control": "no-store"},
        )

    return router


def _lines(found: Iterable[dict[str, Any]]) -> Iterator[str]:
    for row in found:
        yield json.dumps(row, ensure_ascii=False) + "\n"


def _mount(app: FastAPI, blocks: gr.Blocks, path: str, style: str) -> None:
    def identity(request: Request) -> str | None:
        """The id of who asks, as `request.username` of Gradio's handlers; Gradio refuses if there is none."""
        annotator = access_control.signed_in(request)
        return annotator.id if annotator is not None else None

    gr.mount_gradio_app(
        app,
        blocks,
        path=path,
        auth_dependency=identity,
        allowed_paths=[],
        max_file_size=1,  # byte: there is nothing to upload
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        pwa=False,
        footer_links=[],
        theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        css_paths=[STATIC / "theme.css", STATIC / style],
    )


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
