"""The base of every stage's configuration: frozen, and refusing fields that it does not know."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A stage's configuration stands beside the stage and derives from this."""

    model_config = ConfigDict(frozen=True, extra="forbid")
