"""The records that labeling is about: frozen, and named by their own content.

Left and right are where a response was shown; they never say which response it is. A judgement
therefore names the winner by its candidate id and keeps the shown order beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from rlhf_pipeline.files import content_id


class Message(TypedDict):
    """One turn of a conversation, in the chat format of transformers and TRL."""

    role: str
    content: str


Messages = Sequence[Message]
Verdict = Literal["left", "right", "tie", "both_bad", "skip"]
VERDICTS: tuple[Verdict, ...] = ("left", "right", "tie", "both_bad", "skip")
STRENGTHS = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is asked: a conversation that ends with the user's turn."""

    messages: tuple[Message, ...]
    references: tuple[str, ...] = ()
    id: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", content_id("prompt", list(self.messages)))


@dataclass(frozen=True, slots=True)
class Candidate:
    """One response to a prompt, and where it came from (model, adapter, round, temperature, seed)."""

    prompt_id: str
    response: str
    source: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            object.__setattr__(self, "id", content_id("candidate", self.prompt_id, self.response))


@dataclass(frozen=True, slots=True)
class Annotator:
    """Who judges. `simulated` is set once, when the annotator is made, and never lost."""

    id: str
    name: str
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """Two different responses to one prompt, in no order (`a` has the smaller id)."""

    prompt_id: str
    a: str
    b: str
    id: str = ""

    def __post_init__(self) -> None:
        first, second = sorted((self.a, self.b))
        object.__setattr__(self, "a", first)
        object.__setattr__(self, "b", second)
        if not self.id:
            object.__setattr__(self, "id", content_id("task", first, second))


@dataclass(frozen=True, slots=True)
class Assignment:
    """A task as one annotator sees it: the order is random for each annotator, and recorded."""

    task: Task
    annotator_id: str
    prompt: Prompt
    left: Candidate
    right: Candidate


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one annotator said of one task.

    `winner` is the id of the preferred candidate for `left` and `right`, else None. `strength` (1 to 3)
    accompanies a winner where the annotator or the imported data gave one. `seconds` is the time from
    showing to answering, None for imported data. `key` is the idempotency key: the same key twice
    is one judgement.
    """

    task_id: str
    annotator_id: str
    verdict: Verdict
    left: str
    winner: str | None = None
    strength: int | None = None
    seconds: float | None = None
    created_at: str = ""
    key: str = ""
