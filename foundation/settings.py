"""The base of every stage's configuration: frozen, and refusing fields that it does not know."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Settings(BaseModel):
    """A stage's configuration stands beside the stage and derives from this."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _http(address: str) -> str:
    if not address.startswith(("http://", "https://")):
        raise ValueError("give an address that begins with http:// or https://")
    return address


HttpAddress = Annotated[str, AfterValidator(_http)]
"""The address of a server that a stage asks."""
