"""Answers that are sent while they are written: whatever becomes of the client, their place is given back."""

from collections.abc import AsyncIterator, Callable, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class ClosingStream(StreamingResponse):
    """Calls `close` at its end: also where the client left before the first piece."""

    def __init__(
        self, pieces: AsyncIterator[str], close: Callable[[], None], media_type: str, headers: Mapping[str, str]
    ) -> None:
        # A proxy that waits for more would hold the stream up.
        super().__init__(pieces, media_type=media_type, headers={**headers, "x-accel-buffering": "no"})
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces, or as many as somebody takes."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close()
