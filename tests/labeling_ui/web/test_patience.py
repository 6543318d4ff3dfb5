"""Half-open connections are cut, whole requests are not, however long their answers take."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

from labeling_ui.web.proxy.patience import TimedProtocol


class Quick(TimedProtocol):
    """As on the server, with less patience."""

    arrives_within = 1.0


async def slow(scope: Any, receive: Any, send: Any) -> None:
    """Reads the request, takes longer than a request may, and says how long it was."""
    if scope["type"] != "http":
        return
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await asyncio.sleep(1.5)
    body = f"{size} bytes".encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(slow, http=Quick, lifespan="off", log_level="critical", timeout_keep_alive=60)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield int(listener.getsockname()[1])
    server.should_exit = True
    thread.join()
    listener.close()


WHOLE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-A: b\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc",
    ],
    ids=["nothing", "a line", "headers", "a body"],
)
def test_a_request_that_does_not_arrive_is_cut(port: int, begun: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(begun)
        assert _read_to_the_end(client) == b""


def test_a_second_request_that_stops_midway_is_cut(port: int) -> None:
    with _asking_in_time(port) as client:
        _read_answer(client)
        client.sendall(b"GET / HT")
        assert _read_to_the_end(client) == b""


def test_whole_requests_get_their_slow_answers_and_the_connection_stays(port: int) -> None:
    with _asking_in_time(port) as client:
        _read_answer(client)
        client.sendall(WHOLE)
        _read_answer(client)


@contextmanager
def _asking_in_time(port: int) -> Iterator[socket.socket]:
    """A connection on which a whole request was sent so soon that the server has no reason to cut it."""
    while True:
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            client.sendall(WHOLE)
            if time.monotonic() - began < Quick.arrives_within / 2:
                yield client
                return


def _read_answer(client: socket.socket) -> None:
    """Read headers and body, in however many pieces they come."""
    said = b""
    while b"0 bytes" not in said:
        piece = client.recv(4096)
        assert piece, said
        said += piece


def _read_to_the_end(client: socket.socket) -> bytes:
    try:
        return client.recv(4096)
    except ConnectionResetError:
        return b""
