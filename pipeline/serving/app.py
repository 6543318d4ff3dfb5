"""The web application: the chat page behind the labeling app's sign-in, and beside it the endpoint, for keys."""

from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from labeling_ui.people.accounts import Accounts
from labeling_ui.people.sessions import Sessions
from labeling_ui.store.store import Store
from labeling_ui.web import access_control, sign_in_pages
from labeling_ui.web.api import PAGE, add_page_files
from labeling_ui.web.app import LARGEST_REQUEST, mount_page
from labeling_ui.web.labeling_page import STATIC, build_labeling_page
from pipeline.serving.chat import Source, build_chat
from pipeline.serving.endpoint import build_endpoint
from pipeline.serving.served import Served
from pipeline.serving.side_by_side import Write

OWN = Path(__file__).with_name("static")


def build_app(store: Store, secret: str, served: Served, sources: Mapping[str, Source], write: Write) -> FastAPI:
    """The page and the endpoint; `write` answers on the page, `served` at the endpoint. `secret` signs sessions."""
    accounts, sessions = Accounts(store.database), Sessions(secret)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(sign_in_pages.build_router(accounts, sessions))
    app.include_router(build_chat(store, sources, write))
    files = APIRouter()
    add_page_files(files, PAGE, OWN)
    app.include_router(files)
    mount_page(app, build_labeling_page("Talk to the models", "chat.js"), "/", STATIC / "label.css", OWN / "chat.css")
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=LARGEST_REQUEST)
    app.add_middleware(access_control.Guard, accounts=accounts, sessions=sessions)
    app.add_middleware(_Endpoint, endpoint=build_endpoint(store, served))
    return app


class _Endpoint:
    """ASGI middleware, the outermost: what is under /v1 is for keys, and no session opens it."""

    def __init__(self, app: ASGIApp, endpoint: ASGIApp) -> None:
        self._app, self._endpoint = app, endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = scope["type"] == "http" and scope["path"].startswith("/v1/")
        await (self._endpoint if asked else self._app)(scope, receive, send)
