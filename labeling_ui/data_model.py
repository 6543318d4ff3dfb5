"""The data model of labeling: prompt, candidate, task, assignment, answer, judgement, annotator.

Records are frozen, and ids are hashes of the content. An answer names candidates by id, never by the side on which
they were shown; a judgement records that order beside it. Campaigns are in `campaign.py`, database tables in
`store/tables.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypedDict

from foundation.files import content_id
from labeling_ui.campaign import Campaign


class Message(TypedDict):
    """One turn of a conversation, in the chat format of transformers and TRL."""

    role: str
    content: str


Messages = Sequence[Message]
Verdict = Literal["preferred", "tie", "both_bad", "ranked", "rated", "skip"]
VERDICTS: tuple[Verdict, ...] = ("preferred", "tie", "both_bad", "ranked", "rated", "skip")
STRENGTHS = (1, 2, 3)
Action = Literal["answer", "edit", "undo", "adjudicate", "reopen"]
OF_REVIEWERS: tuple[Action, ...] = ("adjudicate", "reopen")
"""A reviewer's answer that decides a task, and its withdrawal: no annotator's judgement."""
TaskState = Literal["open", "decided", "paused", "removed"]
View = Literal["rendered", "raw", "both"]
Aid = Literal["differences", "length"]
AIDS: tuple[Aid, ...] = ("differences", "length")
Role = Literal["annotator", "reviewer", "admin"]
ROLES: tuple[Role, ...] = ("annotator", "reviewer", "admin")
REVIEWERS: tuple[Role, ...] = ("reviewer", "admin")


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
    """Who judges. `simulated` is set once, when the annotator is made, and never lost.

    The id is random: it says nothing of the name, and stays when the person is forgotten.
    """

    id: str
    name: str
    simulated: bool = False
    role: Role = "annotator"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of a task, whatever its kind, in candidate ids; also how the answer to a gold task is written down.

    - `preferred`: `winner`, with a `strength` from 1 (slightly) to 3 (much) if one was given
    - `tie`, `both_bad`: of a pair
    - `ranked`: `ranking` as groups of equals, best first; a candidate that is not named was not ranked
    - `rated`: `ratings` as {aspect: {candidate id: 1 to the campaign's scale}}, and the aspects `not_applicable`
    - `skip`: with a `reason`
    """

    verdict: Verdict
    winner: str | None = None
    strength: int | None = None
    ranking: tuple[tuple[str, ...], ...] = ()
    ratings: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    reason: str = ""
    rationale: str = ""
    rewrite: str = ""
    not_applicable: tuple[str, ...] = field(default=(), repr=False)  # imported annotators are named after the rest


@dataclass(frozen=True, slots=True)
class Task:
    """Different responses to one prompt, in no order (`candidates` is sorted).

    A gold task knows its answer. A repeat shows one annotator (`reserved_for`) an earlier task (`repeat_of`) again.
    `version` is the campaign's when the task was made: it says on which scale, for which aspects, the answers are.
    Nobody is asked a task that is not `open`; a `removed` one is left out of exports and figures as well. `reason` is
    why a chooser picked it; empty where it was drawn at random.
    """

    prompt_id: str
    candidates: tuple[str, ...]
    campaign: str = "main"
    gold: Answer | None = None
    repeat_of: str | None = None
    reserved_for: str | None = None
    version: int = 1
    id: str = ""
    state: TaskState = "open"
    reason: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "candidates", tuple(sorted(self.candidates)))
        if not self.id:
            later = (self.version,) if self.version > 1 else ()
            parts = ("task", self.campaign, self.repeat_of, self.reserved_for, *self.candidates, *later)
            object.__setattr__(self, "id", content_id(*parts))


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one annotator said of one task.

    `shown` has the candidate ids from left to right (or from top to bottom). `seconds` is the time spent judging,
    pauses left out; None for imported data. `key` is the idempotency key: the same key twice is one judgement.
    `view` is how the texts were looked at: as rendered Markdown, as they were written, or both; `aids` is what was
    shown on request: the words that differ, the lengths. None if not known.
    """

    task_id: str
    annotator_id: str
    shown: tuple[str, ...]
    answer: Answer
    seconds: float | None = None
    created_at: str = ""
    key: str = ""
    action: Action = "answer"
    view: View | None = None
    aids: tuple[Aid, ...] | None = None

    @property
    def is_imported(self) -> bool:
        """Whether a file brought it: nobody knows when it was given, and `created_at` is when it came in."""
        return self.seconds is None and self.key == key_of_import(self.task_id, self.annotator_id, self.answer)

    @property
    def side(self) -> Literal["left", "right"] | None:
        """Where the winner of a pair was shown."""
        if self.answer.winner is None or len(self.shown) != 2:
            return None
        return "left" if self.answer.winner == self.shown[0] else "right"


def key_of_import(task_id: str, annotator_id: str, answer: Answer) -> str:
    """The key of what a file says that an annotator said of a task: importing it twice adds nothing."""
    return content_id("import", task_id, annotator_id, asdict(answer))


@dataclass(frozen=True, slots=True)
class Assignment:
    """A task as one annotator sees it: the order is random for each annotator, and recorded.

    `previous` is the annotator's own earlier answer, if this one would replace it.
    """

    task: Task
    annotator_id: str
    campaign: Campaign
    prompt: Prompt
    shown: tuple[Candidate, ...]
    previous: Judgement | None = None

    def judgement(
        self, answer: Answer, seconds: float | None = None, key: str = "", action: Action = "answer"
    ) -> Judgement:
        """The judgement that this answer to the assignment amounts to."""
        shown = tuple(candidate.id for candidate in self.shown)
        return Judgement(self.task.id, self.annotator_id, shown, answer, seconds, key=key, action=action)
