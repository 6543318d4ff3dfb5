"""Who samples responses: this program, or a server of the same model."""

from pathlib import Path

from pydantic import Field, model_validator

from foundation.settings import HttpAddress, Settings


class SamplerConfig(Settings):
    """A server that samples instead (docs/scaling.md): vLLM, or `rlhf serve`."""

    endpoint: HttpAddress | None = Field(
        None,
        description="a server of the same model that samples instead, as in http://localhost:8000/v1; or null",
    )
    model: str = Field("", description="what that server calls the base")
    adapter: str | None = Field(
        None, description="what it calls the policy; null: as the folder of its round, as in round-000"
    )
    at_once: int = Field(32, ge=1, description="prompts that are sent to it at a time")
    exchange: Path | None = Field(
        None, description="folder from which it loads the policy while that is tuned; null: the run's own"
    )
    patience: float = Field(60.0, gt=0, description="seconds of trying again while it does not answer")

    @model_validator(mode="after")
    def _check_model(self) -> "SamplerConfig":
        if self.endpoint and not self.model:
            raise ValueError("an endpoint needs what it calls the base: sampler.model")
        return self
