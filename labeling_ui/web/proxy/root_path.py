"""The app under a sub-path of a host, as in https://example.org/labels/.

A proxy may pass the sub-path on or strip it: both arrive at the same page. Addresses that the app writes begin with it.
"""

from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class RootPath:
    """ASGI middleware, the outermost: takes requests with and without the sub-path, and tells the app of it."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self.app = app
        self._root = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on under the sub-path."""
        if scope["type"] == "lifespan" or not self._root:
            await self.app(scope, receive, send)
            return
        root, path = self._root, scope["path"]
        if path == root and scope["type"] == "http":  # addresses on a page are relative to its last slash
            query = scope["query_string"].decode("latin-1")
            await RedirectResponse(f"{root}/{f'?{query}' if query else ''}", 307)(scope, receive, send)
            return
        if not path.startswith(f"{root}/"):
            raw = scope.get("raw_path") or path.encode()
            scope = {**scope, "path": root + path, "raw_path": root.encode() + raw}
        await self.app({**scope, "root_path": root}, receive, send)


def place(connection: HTTPConnection) -> str:
    """Where in the app a request goes, without the sub-path."""
    path: str = connection.scope["path"]
    return path.removeprefix(root_of(connection))


def root_of(connection: HTTPConnection) -> str:
    """The sub-path of the app, as in /labels; empty at the root of a host."""
    scope = connection.scope
    return str(scope.get("app_root_path", scope.get("root_path", "")))  # a mounted app has a root path of its own
