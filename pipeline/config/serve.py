"""The settings of `rlhf serve`."""

from pathlib import Path

from pydantic import Field

from foundation.settings import Settings


class ServeConfig(Settings):
    """Where models are served, and how much of them one person may have."""

    host: str = Field("127.0.0.1", description="address of this machine; 0.0.0.0 is all of them")
    port: int = Field(8000, ge=0, le=65535, description="TCP port; 0 takes a free one")
    at_once: int = Field(
        4, ge=1, le=64, description="requests that are answered at the same time, a token each in turn"
    )
    waiting: int = Field(40, ge=0, le=10_000, description="requests that may wait for their turn")
    of_one: int = Field(4, ge=2, le=1000, description="requests of one person that may wait or be answered at a time")
    per_minute: int = Field(120, ge=1, le=100_000, description="requests of one person in a minute")
    max_new_tokens: int = Field(1024, ge=1, description="longest answer that may be asked for, in tokens")
    adapters_below: Path | None = Field(
        None, description="whoever has a key may load adapters from this folder while it runs; null: nobody may"
    )
