"""Connections on which a request does not arrive whole in time are cut: half-open ones would hold the server's sockets.

uvicorn cuts connections that are idle between requests, and waits without end for one that has begun. The time counts
from the connection, or from the first byte of a later request, to the last byte of a request; answers take as long as
they like.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

ARRIVES_WITHIN = 30.0
"""Seconds for a whole request, which is a megabyte at most."""


class TimedProtocol(H11Protocol):
    """uvicorn's HTTP protocol, with a limit to how long a request may take to arrive."""

    arrives_within = ARRIVES_WITHIN
    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what arrived; wait on if the request is not whole."""
        super().data_received(data)
        if self.conn.their_state is h11.SEND_BODY or (self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]):
            self._wait()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._limit is None:
            self._limit = self.loop.call_later(self.arrives_within, self._cut)

    def _stop_waiting(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _cut(self) -> None:
        self._limit = None
        self.transport.abort()
