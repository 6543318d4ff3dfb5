"""The web application: one FastAPI app with the labeling page, its JSON API, the admin page, sign-in and exports.

Everything stands behind `access_control.Guard`. Left out on purpose: listening and what is told at the start
(`server.py`, which loads this last, for Gradio takes seconds to load), and TLS, which a proxy in front has (see
`access_control.py`).
"""

import secrets
from pathlib import Path
from typing import Annotated

import gradio as gr
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse
from starlette.middleware.body_limit import RequestBodyLimitMiddleware

from labeling_ui.data_model import Annotator
from labeling_ui.exchange.apart import text
from labeling_ui.exchange.exports.registry import ANSWERS, KINDS
from labeling_ui.markdown.block import STYLE
from labeling_ui.people.accounts import Accounts
from labeling_ui.people.audit import note
from labeling_ui.people.sessions import Sessions
from labeling_ui.store.store import Store
from labeling_ui.web import access_control, api, sign_in_pages
from labeling_ui.web.admin.page import build_admin_page
from labeling_ui.web.labeling_page import STATIC, build_labeling_page
from labeling_ui.web.live_prompts import Generate
from labeling_ui.web.proxy.root_path import RootPath
from labeling_ui.web.tasks import audit, instructions
from labeling_ui.web.tasks import routes as tasks

LARGEST_REQUEST = 1 << 20  # bytes: an answer with a long rewrite is far below
EVENT_PAUSE = 0.02  # seconds: an event of Gradio's waits at most so long


def build_app(
    store: Store, secret: str | None = None, generate: Generate | None = None, root_path: str = ""
) -> FastAPI:
    """The whole web application over `store`; `generate` answers typed prompts in campaigns that allow it.

    `root_path` is the sub-path of the host under which people reach the app, as `valid_sub_path` gives it. `secret`
    signs sessions and tickets; without one a random secret is made, and sign-ins end with the process.
    """
    secret = secret or secrets.token_hex(32)
    accounts, sessions = Accounts(store.database), Sessions(secret, root_path)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(sign_in_pages.build_router(accounts, sessions))
    app.include_router(api.build_router(store, secret, generate))
    app.include_router(_exports(store))
    app.include_router(tasks.build_router(store))
    app.include_router(audit.build_router(store))
    app.include_router(instructions.build_router(store))
    app.add_api_route("/admin", lambda: RedirectResponse(f"{root_path}/admin/", 303), response_model=None)
    mount_page(app, build_admin_page(store, accounts, root_path), "/admin", STATIC / "admin.css")
    mount_page(app, build_labeling_page(), "/", STATIC / "label.css")
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=LARGEST_REQUEST)
    app.add_middleware(access_control.Guard, accounts=accounts, sessions=sessions)
    app.add_middleware(RootPath, root_path=root_path)
    return app


def _exports(store: Store) -> APIRouter:
    """Judgements as files, made as they are sent: nothing is left in a folder that others could read."""
    router = APIRouter()
    Reviewer = Annotated[Annotator, Depends(access_control.require("reviewer"))]

    @router.get("/export/{name:path}")
    def download(request: Request, name: str, _reviewer: Reviewer, campaign: str | None = None) -> Response:
        kind = name.removesuffix(".jsonl")
        learned_from = {one.name for one in store.campaigns() if kind == ANSWERS or not one.is_verdict}
        known = campaign is None or campaign in learned_from
        if kind not in KINDS or kind == name or not known:
            access_control.refused(request, "there is no such export")
            raise HTTPException(404, f"There is no such export. Choose one of {', '.join(KINDS)}.")
        said = f"{kind}, {campaign or 'all campaigns'}"
        note(store.database, "exported", access_control.origin(request), detail=said)
        return StreamingResponse(
            text(store, kind, campaign),
            media_type="application/jsonl",
            headers={"content-disposition": f'attachment; filename="{kind}.jsonl"', "cache-control": "no-store"},
        )

    return router


def mount_page(app: FastAPI, blocks: gr.Blocks, path: str, *styles: Path) -> None:
    """Let `app` show a Gradio page to whoever is signed in, in the theme and these style sheets."""

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
        css_paths=[STATIC / "theme.css", STYLE, *styles],
        head_paths=[STATIC / "whose_page.html"],
    )
    # Gradio looks every millisecond for events to process, which takes a twentieth of a core while nobody is there.
    blocks._queue.sleep_when_free = EVENT_PAUSE
    blocks._queue.progress_update_sleep_when_free = EVENT_PAUSE
