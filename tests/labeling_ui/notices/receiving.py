"""Real servers on this machine that notices are sent to: a webhook and a mail server, well-behaved or not."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Webhook:
    """Answers with `status`; before that it waits for `go`, and while `drips` it sends a byte now and then for ever."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.status, self.drips = 200, False
        self.go, self.asked, self.over = threading.Event(), threading.Event(), threading.Event()
        self.go.set()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                hook.received.append(body)
                hook.asked.set()
                hook.go.wait(120)
                try:
                    while hook.drips and not hook.over.wait(0.2):
                        self.wfile.write(b"H")
                    self.send_response(hook.status)
                    self.end_headers()
                except OSError:
                    pass

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.address = f"json://lead:s3cret-word@127.0.0.1:{self.port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.go.set()
        self.over.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def mail_server() -> Iterator[tuple[str, list[str]]]:
    """The address of a mail server as apprise writes it, and the messages that it took."""
    taken: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 localhost")
            while line := self.rfile.readline():
                verb = line.split()[0].upper() if line.split() else b""
                if verb == b"DATA":
                    self._say("354 go on")
                    taken.append(b"".join(iter(self.rfile.readline, b".\r\n")).decode())
                self._say("221 bye" if verb == b"QUIT" else "250 OK")
                if verb == b"QUIT":
                    return

        def _say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"mailto://127.0.0.1:{server.server_address[1]}?from=label@example.org&to=lead@example.org", taken
        server.shutdown()
