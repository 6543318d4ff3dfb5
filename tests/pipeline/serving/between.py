"""A server between a program and the one that is meant, to die, to be busy, or to answer something else."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.pipeline.serving.conftest import Site


class Between:
    """A server between the program and the one that is meant: what it does to a request is `does`."""

    def __init__(self, site: Site) -> None:
        self.answered = 0
        self.does: Callable[[BaseHTTPRequestHandler, bytes], bool] = lambda handler, body: False
        between = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if between.does(self, body):
                    return
                headers = {"authorization": self.headers["authorization"], "content-type": "application/json"}
                try:
                    with urlopen(Request(f"{site.address}{self.path}", body, headers)) as reply:
                        status, said = reply.status, reply.read()
                except HTTPError as error:
                    status, said = error.code, error.read()
                between.answered += 1
                answer(self, status, said)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


def answer(handler: BaseHTTPRequestHandler, status: int, said: bytes) -> bool:
    handler.send_response(status)
    handler.send_header("content-length", str(len(said)))
    handler.end_headers()
    handler.wfile.write(said)
    return True


@contextmanager
def opened(site: Site) -> Iterator[Between]:
    between = Between(site)
    thread = threading.Thread(target=between.server.serve_forever)
    thread.start()
    try:
        yield between
    finally:
        between.server.shutdown()
        thread.join()
        between.server.server_close()
