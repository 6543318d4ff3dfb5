"""The order in which an annotator sees the responses: from left to right, or from top to bottom.

Each annotator has an order of their own for each task, so that position bias averages out. A task that is shown
again is shown in the reverse order (`store/open_tasks.py`).
"""

from labeling_ui.assignment.hash_draws import draw
from labeling_ui.data_model import Task


def display_order(task: Task, annotator_id: str) -> tuple[str, ...]:
    """The candidate ids as this annotator sees them; every order is equally likely."""
    return tuple(sorted(task.candidates, key=lambda candidate: draw("shown", annotator_id, task.id, candidate)))
