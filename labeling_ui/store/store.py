"""The label store: prompts, candidates, tasks, annotators, and every judgement with its history.

A store is one database: a SQLite file, or PostgreSQL by URL. It may be used from any number of threads and processes
at once. What is acknowledged is on disk. `Store` is the door; the statements are in the modules beside it, one subject
each. Left out on purpose: people's accounts (`people/`), and what the judgements are worth (`quality/`).
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from foundation.errors import UserError
from foundation.files import content_id
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Annotator, Assignment, Candidate, Judgement, Prompt, Task
from labeling_ui.store import answer_log, integrity, label_set, progress, tables
from labeling_ui.store.answer_log import Entry
from labeling_ui.store.answering.desk import Desk, Taken, TakenBack
from labeling_ui.store.campaigns import Version, add_campaign, close_campaign, read_campaigns
from labeling_ui.store.database import Database, insert_new
from labeling_ui.store.judgements import IN_FORCE, Outcome, history, record_judgements
from labeling_ui.store.leases import judged_assignment
from labeling_ui.store.progress import Counts, Progress
from labeling_ui.store.tasks import add_candidates, add_prompts, add_tasks, set_priorities

__all__ = ["Counts", "Entry", "Outcome", "Progress", "Store", "Version"]


class Store:
    """The records of a labeling project, in one database."""

    def __init__(self, url_or_path: str | Path, clock: Callable[[], float] = time.time) -> None:
        """Open, or make, the store; `clock` tells the seconds since 1970 (only tests replace it)."""
        self.database = Database(url_or_path)
        self._clock = clock
        self._desk = Desk(self.database, clock, self._time)

    def close(self) -> None:
        """Give the database connections back."""
        self.database.close()

    # What is to be judged.

    def add_campaign(self, campaign: Campaign) -> None:
        """Add a campaign, or give one of that name new settings; its kind stays once it has tasks.

        Another scale, or other aspects, are a new version once anybody was asked (`campaigns.py`).
        """
        with self.database.write() as connection:
            add_campaign(connection, campaign, self._time())

    def close_campaign(self, name: str) -> None:
        """Ask nothing more in a campaign. What is on somebody's screen can still be answered."""
        with self.database.write() as connection:
            close_campaign(connection, name, self._time())

    def campaigns(self) -> list[Campaign]:
        """All campaigns as they are now, in the order in which they were made."""
        with self.database.read() as connection:
            return [each.campaign for each in read_campaigns(connection).now.values()]

    def versions(self) -> dict[tuple[str, int], Version]:
        """Every version of every campaign, by name and version."""
        with self.database.read() as connection:
            return read_campaigns(connection).versions

    def version(self, campaign: str) -> int:
        """The version that new tasks of the campaign are of; 1 if there is no such campaign yet."""
        with self.database.read() as connection:
            now = read_campaigns(connection).now
        return now[campaign].version if campaign in now else 1

    def tasks_by_campaign(self) -> dict[str, int]:
        """How many tasks each campaign has that has any."""
        counted = sa.select(tables.tasks.c.campaign, sa.func.count()).group_by(tables.tasks.c.campaign)
        with self.database.read() as connection:
            return {name: number for name, number in connection.execute(counted)}

    def campaigns_without_tasks(self) -> list[Campaign]:
        """The campaigns in which nobody is asked anything, in the order in which they were made."""
        asked = self.tasks_by_campaign()
        return [each for each in self.campaigns() if each.name not in asked]

    def add_prompts(self, prompts: Iterable[Prompt]) -> int:
        """Add prompts; returns how many were new."""
        with self.database.write() as connection:
            return add_prompts(connection, prompts)

    def add_candidates(self, candidates: Iterable[Candidate]) -> int:
        """Add candidates of prompts that are in the store; returns how many were new."""
        with self.database.write() as connection:
            return add_candidates(connection, candidates)

    def add_tasks(
        self, tasks: Iterable[Task], overlap: int | None = None, *, campaign: Campaign | None = None,
        prompts: Iterable[Prompt] = (), candidates: Iterable[Candidate] = (),
    ) -> int:  # fmt: skip
        """Add tasks, each to be judged by `overlap` annotators (else by as many as its campaign says).

        What they are about comes with them in one transaction: all of it or nothing. Returns how many tasks were new.
        A task with a known answer goes to every annotator, whatever its overlap.
        """
        with self.database.write() as connection:
            if campaign is not None:
                add_campaign(connection, campaign, self._time())
            add_prompts(connection, prompts)
            add_candidates(connection, candidates)
            return add_tasks(connection, tasks, overlap, self._time())

    def set_priorities(self, priorities: Mapping[str, float]) -> int:
        """Let tasks of a higher priority (0 at first) come earlier; returns how many of them are in the store."""
        with self.database.write() as connection:
            return set_priorities(connection, priorities)

    def prompts(self) -> list[Prompt]:
        """All prompts, by id."""
        return [tables.prompt_of(row) for row in self._by(tables.prompts.c.id)]

    def judged_prompts(self) -> set[str]:
        """The ids of the prompts on which a verdict was asked."""
        with self.database.read() as connection:
            return progress.judged_prompts(connection)

    def candidates(self) -> list[Candidate]:
        """All candidates, by id."""
        return [tables.candidate_of(row) for row in self._by(tables.candidates.c.id)]

    def tasks(self) -> list[Task]:
        """All tasks, by id: also those with a known answer, and those shown again."""
        return [tables.task_of(row) for row in self._by(tables.tasks.c.id)]

    # Who judges.

    def annotator(self, name: str, simulated: bool = False) -> Annotator:
        """The annotator of that name, made if there is none; simulated and human ones never share a name."""
        name = " ".join(name.split())
        if not name or len(name) > 100:
            raise UserError("an annotator's name must have 1 to 100 characters.")
        by_name = sa.select(tables.annotators).where(tables.annotators.c.name == name)
        with self.database.read() as connection:
            found = connection.execute(by_name).first()
        if found is None:
            # A program has nothing to hide behind a random id, and its choices are the same in every run.
            made = content_id("annotator", name) if simulated else secrets.token_hex(8)
            row = {"id": made, "name": name, "simulated": simulated, "created_at": self._time()}
            with self.database.write() as connection:
                found = connection.execute(by_name).first()
                if found is None:
                    insert_new(connection, tables.annotators, [row])
                    found = connection.execute(by_name).one()
        annotator = tables.annotator_of(found)
        if annotator.simulated != simulated:
            kind = "a simulated annotator" if annotator.simulated else "a person"
            raise UserError(f'the annotator "{name}" is already in the store as {kind}. Choose another name.')
        return annotator

    def annotators(self) -> list[Annotator]:
        """All annotators, by name."""
        return [tables.annotator_of(row) for row in self._by(tables.annotators.c.name)]

    # Judging.

    def assignments(self, annotator_id: str, count: int = 1) -> list[Assignment]:
        """The annotator's tasks in the order they were given, topped up to `count`; fewer when all is done.

        Each is leased for its campaign's `lease_minutes` from now on, before this returns. Judgements and leases of a
        task never exceed its overlap; a task whose lease has expired may be given to another annotator.
        """
        return self._desk.deal(annotator_id, count)

    def next_assignment(self, annotator_id: str) -> Assignment | None:
        """The first of the annotator's tasks; None when all is done."""
        return next(iter(self.assignments(annotator_id)), None)

    def assignment(self, task_id: str, annotator_id: str) -> Assignment:
        """A task that the annotator has judged, with `previous`, to edit it; `UserError` if it is not theirs."""
        events, judgements = tables.events, tables.judgements
        mine = sa.select(events).join(judgements, judgements.c.event == events.c.number)
        mine = mine.where(judgements.c.task_id == task_id, judgements.c.annotator_id == annotator_id)
        with self.database.read() as connection:
            row = connection.execute(mine).first()
            if row is None:
                raise UserError(f"there is no judgement of yours on task {task_id}.")
            return judged_assignment(connection, tables.judgement_of(row), read_campaigns(connection))

    def record(self, judgement: Judgement) -> Outcome:
        """Take a judgement, committed before this returns.

        An answer is taken even after its lease has expired; see `judgements.py` for whose place it takes.
        """
        return self.record_many([judgement])[0]

    def take(self, judgement: Judgement, count: int) -> Taken:
        """The same of a judgement with a key, and the tasks that come next, in one transaction (`Desk.take`)."""
        return self._desk.take(judgement, count)

    def record_many(
        self, judgements: Sequence[Judgement], *, prompts: Iterable[Prompt] = (), candidates: Iterable[Candidate] = (),
        tasks: Iterable[Task] = (), overlap: int | None = None,
    ) -> list[Outcome]:  # fmt: skip
        """Take judgements, and what they are about, in one transaction: all of it or nothing."""
        with self.database.write() as connection:
            add_prompts(connection, prompts)
            add_candidates(connection, candidates)
            add_tasks(connection, tasks, overlap, self._time())
            campaigns = read_campaigns(connection)
            return record_judgements(connection, judgements, campaigns, self._clock(), self._time())

    def undo(self, annotator_id: str, key: str) -> Assignment | None:
        """Withdraw the annotator's newest judgement; its task is their current one again, with `previous`.

        None if there is nothing to withdraw. The same key again withdraws nothing more.
        """
        return self.take_back(annotator_id, key, 0).withdrawn

    def take_back(self, annotator_id: str, key: str, count: int) -> TakenBack:
        """The same, and the tasks that come next, in one transaction (`Desk.take_back`)."""
        return self._desk.take_back(annotator_id, key, count)

    def history(self, annotator_id: str, limit: int = 20) -> list[Judgement]:
        """The annotator's own judgements in force, the newest first; of a task that came again, the later one alone."""
        with self.database.read() as connection:
            return history(connection, annotator_id, limit)

    def judgements(self) -> Iterator[Judgement]:
        """All judgements in force, in the order of their arrival."""
        return iter(self._judgements(IN_FORCE.order_by(tables.judgements.c.event)))

    def events(self) -> Iterator[Judgement]:
        """Everything that was ever said, in the order of arrival; an undo repeats what it withdraws."""
        return iter(self._judgements(sa.select(tables.events).order_by(tables.events.c.number)))

    def log(self, campaign: str | None = None) -> Iterator[Entry]:
        """Everything that was ever said (in one campaign), each with all that it is about, from one snapshot."""
        with self.database.read() as connection:
            yield from answer_log.entries(connection, campaign)

    def take_log(self, log: Iterable[Entry]) -> list[str]:
        """Take in the log of another store, all of it or nothing; returns what became of each entry.

        "taken", "repeated" if it was there already, or why it was left out.
        """
        with self.database.write() as connection:
            return list(answer_log.Restoring(connection).take(log))

    # How far it is.

    def progress(self, annotator_id: str) -> Progress:
        """What the annotator has judged, and what is still open to them."""
        return self._desk.progress(annotator_id)

    def counts(self) -> Counts:
        """How much of everything there is."""
        with self.database.read() as connection:
            return progress.counts(connection)

    def waiting(self, campaign: str | None = None) -> int:
        """How many judgements the tasks (of one campaign, or of all but verdicts) still lack, each by its overlap.

        Tasks with a known answer, and those that are one annotator's alone, are not waited for.
        """
        with self.database.read() as connection:
            return progress.waiting(connection, campaign)

    def label_set_hash(self, until: int | None = None) -> str:
        """sha256 over what the judgements in force say, verdicts left out, and what was asked, in whatever order.

        Neither times, keys, names and ids of annotators count, nor what came after the event of the number `until`.
        """
        with self.database.read() as connection:
            return label_set.label_set_hash(connection, until)

    def backup(self, path: str | Path) -> Path:
        """Copy a SQLite store to a new file, also while it is in use; `UserError` for PostgreSQL."""
        if (path := Path(path)).exists():
            raise UserError(f"{path} exists already. Choose a new file for the copy.")
        self.database.copy_to(path)
        return path

    def verify(self) -> list[str]:
        """What is wrong with the store, one line per problem; empty if all is well."""
        with self.database.read() as connection:
            return integrity.problems(connection)

    def _judgements(self, statement: sa.Select[Any]) -> list[Judgement]:
        with self.database.read() as connection:
            return [tables.judgement_of(row) for row in connection.execute(statement)]

    def _by(self, column: sa.Column[Any]) -> Sequence[sa.Row[Any]]:
        """All rows of the column's table, in its order."""
        with self.database.read() as connection:
            return connection.execute(sa.select(column.table).order_by(column)).all()

    def _time(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
