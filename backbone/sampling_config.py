"""How responses are drawn, as a setting that other settings hold: without torch. The sampler is `sampling.py`."""

from pydantic import Field, field_validator

from foundation.settings import Settings


class SamplingConfig(Settings):
    """How responses are drawn. `temperature` 0 is greedy; `top_p` below 1 keeps the smallest set of that mass."""

    max_new_tokens: int = Field(96, ge=1, description="longest response, in tokens")
    temperature: float = Field(0.8, ge=0, description="divides the logits; 0 is greedy decoding")
    top_k: int | None = Field(None, ge=1, description="sampling among the k likeliest tokens; null keeps everything")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus sampling (Holtzman et al. 2020); 1 keeps everything")
    stop: tuple[str, ...] = Field((), description="texts that end a response, which keeps them")

    @field_validator("stop")
    @classmethod
    def _not_empty(cls, stop: tuple[str, ...]) -> tuple[str, ...]:
        if "" in stop:
            raise ValueError("an empty text would end every response at once: leave it out")
        return stop
