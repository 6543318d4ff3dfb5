"""Posting JSON to a server of OpenAI's interface, again while it is busy or away, from several threads at a time.

Left out on purpose: what is asked and what the answer means (`server.py`, `policy_server.py`).
"""

import json
import os
import socket
import threading
import time
from collections.abc import Mapping, Set
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from foundation.errors import UserError
from pipeline.config.sampler import SamplerConfig

BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
SHOWN = 200
_SILENCE = 300.0  # seconds without a byte of an answer
_ONCE = 10.0  # likewise, of what is only asked once


class Refused(Exception):
    """The server answers with a status that will not change by itself; the message holds it."""


class _NotNow(Exception):
    """What may be otherwise in a while."""


class Client:
    """One server, named by `sampler.endpoint`."""

    def __init__(self, config: SamplerConfig) -> None:
        self._config = config
        self._heard = 0.0  # when it last answered
        self._open: set[HTTPConnection] = set()
        self._stopped = threading.Event()

    def start(self) -> None:
        """Wait for answers again, after `stop`."""
        self._stopped.clear()

    def stop(self) -> None:
        """Let no thread wait any longer, whatever it waits for."""
        self._stopped.set()
        for connection in list(self._open):
            if connection.sock:
                with suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def post(self, path: str, body: Mapping[str, Any], busy: Set[int] = BUSY, *, once: bool = False) -> bytes:
        """What the server answers at `path`, below the endpoint.

        A status of `busy`, or no answer, is tried again for as long as the configuration has patience, unless it is
        asked `once`; then `UserError`. `Refused` on any other status but 200.
        """
        began, pause = time.monotonic(), 0.25
        while not self._stopped.is_set():
            try:
                said = self._sent(path, body, busy, _ONCE if once else _SILENCE)
                self._heard = time.monotonic()
                return said
            except _NotNow as reason:
                if once or time.monotonic() + pause > max(began, self._heard) + self._config.patience:
                    raise UserError(
                        f"the sampling server at {self._config.endpoint} does not answer ({reason}). See whether it "
                        "runs, and run the command again: it goes on with what it has."
                    ) from reason
            self._stopped.wait(pause)
            pause = min(2 * pause, 8.0)
        raise UserError("sampling was stopped.")

    def _sent(self, path: str, body: Mapping[str, Any], busy: Set[int], silence: float) -> bytes:
        address = urlsplit(f"{(self._config.endpoint or '').rstrip('/')}/{path}")
        kind = HTTPSConnection if address.scheme == "https" else HTTPConnection
        headers = {"content-type": "application/json"}
        if key := os.environ.get("OPENAI_API_KEY"):
            headers["authorization"] = f"Bearer {key}"
        connection = kind(address.hostname or "", address.port, timeout=silence)
        self._open.add(connection)
        try:
            connection.request("POST", address.path, json.dumps(body), headers)
            reply = connection.getresponse()
            status, said = reply.status, reply.read()
        except (OSError, HTTPException) as error:
            raise _NotNow(str(error) or type(error).__name__) from error
        finally:
            self._open.discard(connection)
            connection.close()
        if status == 200:
            return said
        told = f"status {status}, {_message(said)}"
        raise (_NotNow if status in busy else Refused)(told)


def _message(said: bytes) -> str:
    """What an error of OpenAI's shape says, else its beginning."""
    try:
        text = str(json.loads(said)["error"]["message"])
    except (ValueError, LookupError, TypeError):
        text = said.decode(errors="replace")
    return text[:SHOWN].rstrip(".")
