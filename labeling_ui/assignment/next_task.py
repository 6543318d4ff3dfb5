"""Which task an annotator gets next: the most urgent one, a gold task, or one of their own again.

Choices follow from hashes of the ids (`hash_draws.py`). What the database holds is looked up in `store/open_tasks.py`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from labeling_ui.assignment.hash_draws import draw, draw_share
from labeling_ui.campaign import Campaign

REPEAT_DISTANCE = 5
"""At least this many of an annotator's own judgements lie between a task and its repetition."""
VERDICT_SHARE = 0.5
"""Share of everybody's tasks that are a verdict's while one is open: soon done, and never all that one sees."""


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task that an annotator may be given; `taken` counts its judgements and leases."""

    task_id: str
    taken: int = 0
    priority: float = 0.0


def mixed_in(campaign: Campaign, annotator_id: str, turn: int) -> Literal["gold", "repeat"] | None:
    """Whether the annotator's task number `turn` is one with a known answer, one of their own again, or neither."""
    drawn = draw_share("mixed in", annotator_id, str(turn))
    if drawn < campaign.gold_share:
        return "gold"
    return "repeat" if drawn < campaign.gold_share + campaign.repeat_share else None


def verdict_first(annotator_id: str, turn: int) -> bool:
    """Whether the annotator's task number `turn` is a verdict's, where there are others as well."""
    return draw_share("verdict", annotator_id, str(turn)) < VERDICT_SHARE


def at_random(campaign: Campaign, annotator_id: str, turn: int) -> bool:
    """Whether the annotator's task number `turn` is chosen without a look at priorities."""
    return draw_share("at random", annotator_id, str(turn)) < campaign.random_share


def next_task(open_tasks: Iterable[OpenTask], annotator_id: str, by_priority: bool = True) -> str | None:
    """The most urgent task's id, the least taken's among equals; among those, everyone has an order of their own."""

    def rank(task: OpenTask) -> tuple[float, int, int]:
        return -task.priority if by_priority else 0.0, task.taken, draw("order", annotator_id, task.task_id)

    first = min(open_tasks, key=rank, default=None)
    return first.task_id if first else None


def task_to_repeat(judged: Sequence[str], repeated: set[str], annotator_id: str) -> str | None:
    """Which of the annotator's own judged tasks to show again: `judged` runs from the newest to the oldest."""
    eligible = [task_id for task_id in judged[REPEAT_DISTANCE:] if task_id not in repeated]
    return min(eligible, key=lambda task_id: draw("repeat", annotator_id, task_id), default=None)
