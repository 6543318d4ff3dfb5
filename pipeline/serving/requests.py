"""What a client may ask, in OpenAI's format; what would change the answer and is not known here is refused.

Left out on purpose: tools, images, penalties, and formats of the answer.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from labeling_ui.web.cards import Text
from pipeline.serving.models import NAME

MOST_RESPONSES = 8
MOST_LIKELIEST = 20

Stop = Annotated[Text, Field(min_length=1, max_length=200)]
Nothing = Annotated[float, Field(ge=0, le=0)]


class Part(BaseModel):
    """A piece of a message: of text, for the models read nothing else."""

    type: Literal["text"]
    text: Text


class ChatMessage(BaseModel):
    """A turn; what else a client sends along with one is for others."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[Part]

    @property
    def plain(self) -> dict[str, str]:
        """As the chat templates of models have it."""
        said = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": said}


class StreamOptions(BaseModel):
    """`include_usage` asks for the numbers of tokens at the end of a stream."""

    include_usage: bool = False


class Drawing(BaseModel):
    """What both kinds of request say of how to draw."""

    model_config = ConfigDict(extra="forbid")

    model: Text
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_RESPONSES)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # What clients send as a matter of course, and what says nothing as long as it is empty.
    user: Any = None
    presence_penalty: Nothing | None = None
    frequency_penalty: Nothing | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end an answer."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def likeliest(self) -> int | None:
        """Of how many of the likeliest tokens log-probabilities are wanted beside those that were drawn; or None."""
        raise NotImplementedError

    @property
    def sampling(self) -> dict[str, Any]:
        """Fields of `SamplingConfig`."""
        return {
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "top_p": 1.0 if self.top_p is None else self.top_p, "stop": self.stops,
        }  # fmt: skip


class ChatRequest(Drawing):
    """The body of `POST /v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1000)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LIKELIEST)] | None = None
    # What clients send as a matter of course, and what says nothing as long as it is empty.
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    response_format: dict[Literal["type"], Literal["text"]] | None = None

    @property
    def limit(self) -> int | None:
        """The longest answer that is wanted, in tokens."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def likeliest(self) -> int | None:
        """As OpenAI's chat has it, in two fields."""
        return (self.top_logprobs or 0) if self.logprobs else None


class AdapterRequest(BaseModel):
    """The body of vLLM's `POST /v1/unload_lora_adapter`."""

    model_config = ConfigDict(extra="forbid")

    lora_name: Annotated[Text, Field(pattern=f"^{NAME.pattern}$")]


class LoadRequest(AdapterRequest):
    """The body of vLLM's `POST /v1/load_lora_adapter`: a PEFT folder as this machine has it."""

    lora_path: Annotated[Text, Field(min_length=1, max_length=4096)]
    load_inplace: bool = False
