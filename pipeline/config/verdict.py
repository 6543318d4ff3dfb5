"""The verdict stage's settings."""

from pydantic import Field, model_validator

from foundation.settings import HttpAddress, Settings


class VerdictConfig(Settings):
    """When people have compared enough. What an open verdict was opened with stays, whatever is set later."""

    enabled: bool = Field(True, description="whether `rlhf loop` asks people before a policy replaces the champion")
    prompts: int = Field(200, ge=1, description="held-out prompts to compare on, at most")
    judges: int = Field(1, ge=1, le=9, description="people who judge each prompt; one on more prompts decides sooner")
    alpha: float = Field(0.05, gt=0, lt=0.5, description="how often a policy that is no better may win, at most")
    margin: float = Field(
        0.5, ge=0.5, lt=1, description="the win rate that is wanted: a policy that surely stays below it is not better"
    )
    endpoint: HttpAddress | None = Field(
        None,
        description="address of an OpenAI-compatible API, as in http://localhost:8000/v1, whose model judges as well",
    )
    endpoint_model: str = Field("", description="the model that is asked there")

    @model_validator(mode="after")
    def _check_model(self) -> "VerdictConfig":
        if self.endpoint and not self.endpoint_model:
            raise ValueError("an endpoint needs the name of its model: verdict.endpoint_model")
        return self
