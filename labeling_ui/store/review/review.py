"""The door for whoever leads: `TaskReview` over the database of a label store."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from labeling_ui.data_model import Answer, Judgement
from labeling_ui.store.database import Database
from labeling_ui.store.review import adjudication, changes, reading, search, texts, work
from labeling_ui.store.review.changes import Change
from labeling_ui.store.review.reading import TaskDetail, TaskRow
from labeling_ui.store.review.search import PAGE, Cursor, Page, Wanted
from labeling_ui.store.review.texts import Edition, Texts
from labeling_ui.store.review.work import Work


class TaskReview:
    """Finding, reading, deciding and changing tasks, and editing the texts above them.

    Every reader has a snapshot, and holds no writer up.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        """`clock` tells the seconds since 1970 (only tests replace it)."""
        self._database = database
        self._clock = clock

    def find(self, wanted: Wanted, after: Cursor | None = None, count: int = PAGE) -> tuple[Page, list[TaskRow]]:
        """A page of tasks, and its rows."""
        with self._database.read() as connection:
            page = search.find_tasks(connection, wanted, after, count)
            return page, reading.read_rows(connection, page.task_ids)

    def task(self, task_id: str) -> TaskDetail:
        """One task with everything about it; `UserError` if there is none of that id."""
        with self._database.read() as connection:
            return reading.read_task(connection, task_id)

    def work(self, since: str | None = None, until: str | None = None) -> list[Work]:
        """What each person did from `since` to before `until` (ISO 8601)."""
        with self._database.read() as connection:
            return work.read_work(connection, since, until)

    def editions(self, campaign: str) -> list[Edition]:
        """The newest editions of a campaign's texts, the one in force first (`texts.py`)."""
        with self._database.read() as connection:
            return texts.editions_of(connection, campaign)

    def save_texts(self, campaign: str, new: Texts, began_from: int) -> None:
        """Give a campaign new texts, unless somebody saved others since the edition `began_from`."""
        with self._database.write() as connection:
            texts.save_texts(connection, campaign, new, began_from, self._time())

    def decide(self, task_id: str, reviewer_id: str, answer: Answer) -> Judgement:
        """Let a reviewer's answer decide a task (`adjudication.py`); committed before this returns."""
        with self._database.write() as connection:
            return adjudication.adjudicate(connection, task_id, reviewer_id, answer, self._time())

    def reopen(self, task_id: str, reviewer_id: str) -> None:
        """Withdraw the decision on a task."""
        with self._database.write() as connection:
            adjudication.reopen(connection, task_id, reviewer_id, self._time())

    def change(self, task_ids: Sequence[str], change: Change, person_id: str, reason: str = "") -> list[str]:
        """Pause, resume, remove or restore tasks; returns the ids of those that this changed, repeats included."""
        with self._database.write() as connection:
            return changes.change_tasks(connection, task_ids, change, person_id, reason, self._time())

    def _time(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
