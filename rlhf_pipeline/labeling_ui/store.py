"""The label store: prompts, candidates, tasks, annotators, and every judgement with its history.

A store is one database: a SQLite file, or PostgreSQL by URL. It may be used from any number of threads and processes
at once. What is acknowledged is on disk. The statements that hand out tasks are in `leasing.py`, those that take
judgements in `recording.py`; the rules that they follow are in `assignment.py`. Left out: what concerns people
(`accounts.py`), and what the judgements are worth (`quality.py`).
"""

import hashlib
import json
import math
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from rlhf_pipeline.errors import UserError
from rlhf_pipeline.files import content_id
from rlhf_pipeline.labeling_ui import adding, leasing, recording, tables, verification
from rlhf_pipeline.labeling_ui.campaign import Campaign
from rlhf_pipeline.labeling_ui.database import Database, insert_new
from rlhf_pipeline.labeling_ui.recording import Outcome
from rlhf_pipeline.labeling_ui.records import VERDICTS, Annotator, Assignment, Candidate, Judgement, Prompt, Task

__all__ = ["Counts", "Outcome", "Progress", "Store"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an annotator is: `total` is `done` and what could still be given to them."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What the store holds.

    `tasks`, `judgements`, `simulated_judgements` and `by_verdict` are about what is learned from. Tasks with a known
    answer and tasks shown again tell about the annotators; their judgements are counted apart.
    """

    prompts: int
    candidates: int
    tasks: int
    judgements: int
    simulated_judgements: int
    gold_judgements: int
    repeat_judgements: int
    annotators: int
    simulated_annotators: int
    by_verdict: dict[str, int]


class Store:
    """The records of a labeling project, in one database."""

    def __init__(self, url_or_path: str | Path, clock: Callable[[], float] = time.time) -> None:
        """Open, or make, the store; `clock` tells the seconds since 1970 (only tests replace it)."""
        self.database = Database(url_or_path)
        self._clock = clock

    def close(self) -> None:
        """Give the database connections back."""
        self.database.close()

    # What is to be judged.

    def add_campaign(self, campaign: Campaign) -> None:
        """Add a campaign, or give one of that name new settings; its kind stays once it has tasks."""
        with self.database.write() as connection:
            adding.campaign(connection, campaign)

    def campaigns(self) -> list[Campaign]:
        """All campaigns, by name."""
        with self.database.read() as connection:
            return list(leasing.campaigns_of(connection).values())

    def campaigns_without_tasks(self) -> list[Campaign]:
        """The campaigns in which nobody is asked anything, by name."""
        with self.database.read() as connection:
            asked = set(connection.execute(sa.select(tables.tasks.c.campaign).distinct()).scalars())
            return [each for name, each in leasing.campaigns_of(connection).items() if name not in asked]

    def add_prompts(self, prompts: Iterable[Prompt]) -> int:
        """Add prompts; returns how many were new."""
        with self.database.write() as connection:
            return adding.prompts(connection, prompts)

    def add_candidates(self, candidates: Iterable[Candidate]) -> int:
        """Add candidates of prompts that are in the store; returns how many were new."""
        with self.database.write() as connection:
            return adding.candidates(connection, candidates)

    def add_tasks(self, tasks: Iterable[Task], overlap: int | None = None) -> int:
        """Add tasks, each to be judged by `overlap` annotators (else by as many as its campaign says).

        Returns how many were new. A task with a known answer goes to every annotator, whatever its overlap.
        """
        with self.database.write() as connection:
            return adding.tasks(connection, tasks, overlap)

    def set_priorities(self, priorities: Mapping[str, float]) -> int:
        """Let tasks of a higher priority (0 at first) come earlier; returns how many of them are in the store."""
        if not all(math.isfinite(priority) for priority in priorities.values()):
            raise UserError("a priority must be a finite number.")
        with self.database.write() as connection:
            known = [row.id for row in leasing.rows_in(connection, tables.tasks.c.id, priorities)]
            if known:
                statement = sa.update(tables.tasks).where(tables.tasks.c.id == sa.bindparam("task"))
                changes = [{"task": task_id, "to": float(priorities[task_id])} for task_id in known]
                connection.execute(statement.values(priority=sa.bindparam("to")), changes)
        return len(known)

    def prompts(self) -> list[Prompt]:
        """All prompts, by id."""
        return [tables.prompt_of(row) for row in self._by(tables.prompts.c.id)]

    def candidates(self) -> list[Candidate]:
        """All candidates, by id."""
        return [tables.candidate_of(row) for row in self._by(tables.candidates.c.id)]

    def tasks(self) -> list[Task]:
        """All tasks, by id: also those with a known answer, and those shown again."""
        return [tables.task_of(row) for row in self._by(tables.tasks.c.id)]

    # Who judges.

    def annotator(self, name: str, simulated: bool = False) -> Annotator:
        """The annotator of that name, made where there is none; simulated and human ones never share a name."""
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
        task never exceed its overlap; after its lease ran out, a task may be given to another annotator.
        """
        with self.database.write() as connection:
            return leasing.hand_out(connection, annotator_id, count, self._clock())

    def next_assignment(self, annotator_id: str) -> Assignment | None:
        """The first of the annotator's tasks; None when all is done."""
        return next(iter(self.assignments(annotator_id)), None)

    def assignment(self, task_id: str, annotator_id: str) -> Assignment:
        """A task that the annotator has judged, with `previous`, to edit it; `UserError` where it is not theirs."""
        events, judgements = tables.events, tables.judgements
        mine = sa.select(events).join(judgements, judgements.c.event == events.c.number)
        mine = mine.where(judgements.c.task_id == task_id, judgements.c.annotator_id == annotator_id)
        with self.database.read() as connection:
            row = connection.execute(mine).first()
            if row is None:
                raise UserError(f"there is no judgement of yours on task {task_id}.")
            return leasing.judged_assignment(connection, tables.judgement_of(row))

    def record(self, judgement: Judgement) -> Outcome:
        """Take a judgement, committed before this returns.

        An answer is taken also after its lease ran out; see `recording.py` for whose place it takes.
        """
        return self.record_many([judgement])[0]

    def record_many(
        self,
        judgements: Sequence[Judgement],
        *,
        prompts: Iterable[Prompt] = (),
        candidates: Iterable[Candidate] = (),
        tasks: Iterable[Task] = (),
        overlap: int | None = None,
    ) -> list[Outcome]:
        """Take judgements, and what they are about, in one transaction: all of it or nothing."""
        with self.database.write() as connection:
            adding.prompts(connection, prompts)
            adding.candidates(connection, candidates)
            adding.tasks(connection, tasks, overlap)
            return recording.take(connection, judgements, self._clock(), self._time())

    def undo(self, annotator_id: str, key: str) -> Assignment | None:
        """Withdraw the annotator's newest judgement; its task is their current one again, with `previous`.

        None where there is nothing to withdraw. The same key again withdraws nothing more.
        """
        with self.database.write() as connection:
            return recording.undo(connection, annotator_id, key, self._clock(), self._time())

    def history(self, annotator_id: str, limit: int = 20) -> list[Judgement]:
        """The annotator's own judgements in force, the newest first."""
        mine = _IN_FORCE.where(tables.judgements.c.annotator_id == annotator_id)
        return self._judgements(mine.order_by(tables.judgements.c.event.desc()).limit(limit))

    def judgements(self) -> Iterator[Judgement]:
        """All judgements in force, in the order of their arrival."""
        return iter(self._judgements(_IN_FORCE.order_by(tables.judgements.c.event)))

    def events(self) -> Iterator[Judgement]:
        """Everything that was ever said, in the order of arrival; an undo repeats what it withdraws."""
        return iter(self._judgements(sa.select(tables.events).order_by(tables.events.c.number)))

    # How far it is.

    def progress(self, annotator_id: str) -> Progress:
        """What the annotator has judged, and what is still open to them."""
        tasks, judgements, leases = tables.tasks, tables.judgements, tables.leases
        is_open = sa.text(tables.OPEN)
        with self.database.read() as connection:
            done = leasing.judged_by(connection, annotator_id)

            def count(table: sa.FromClause, *conditions: sa.ColumnElement[bool] | sa.TextClause) -> int:
                statement = sa.select(sa.func.count()).select_from(table).where(*conditions)
                return int(connection.execute(statement).scalar_one())

            mine = judgements.c.annotator_id == annotator_id
            held = leases.c.annotator_id == annotator_id
            judged = count(judgements.join(tasks, tasks.c.id == judgements.c.task_id), mine, is_open)
            leased = count(leases.join(tasks, tasks.c.id == leases.c.task_id), held, is_open)
            return Progress(done, done + count(leases, held) + count(tasks, is_open) - judged - leased)

    def counts(self) -> Counts:
        """How much of everything there is."""
        tasks, events, annotators = tables.tasks.c, tables.events.c, tables.annotators.c
        is_gold, is_repeat = tasks.gold.is_not(sa.null()), tasks.repeat_of.is_not(None)
        of = tables.judgements.join(tables.events, events.number == tables.judgements.c.event)
        of = of.join(tables.tasks, tasks.id == tables.judgements.c.task_id)
        of = of.join(tables.annotators, annotators.id == tables.judgements.c.annotator_id)
        kinds = sa.select(is_gold, is_repeat, annotators.simulated, events.verdict, sa.func.count()).select_from(of)
        kinds = kinds.group_by(is_gold, is_repeat, annotators.simulated, events.verdict)
        by_verdict: dict[str, int] = {str(verdict): 0 for verdict in VERDICTS}
        found: dict[str, int] = defaultdict(int)
        with self.database.read() as connection:
            for gold, again, simulated, verdict, number in connection.execute(kinds):
                found["gold" if gold else "repeat" if again else "simulated" if simulated else "human"] += number
                if not gold and not again:
                    by_verdict[verdict] += number

            def count(table: sa.Table, *conditions: sa.ColumnElement[bool]) -> int:
                statement = sa.select(sa.func.count()).select_from(table).where(*conditions)
                return int(connection.execute(statement).scalar_one())

            return Counts(
                prompts=count(tables.prompts),
                candidates=count(tables.candidates),
                tasks=count(tables.tasks, ~is_gold, ~is_repeat),
                judgements=found["simulated"] + found["human"],
                simulated_judgements=found["simulated"],
                gold_judgements=found["gold"],
                repeat_judgements=found["repeat"],
                annotators=count(tables.annotators),
                simulated_annotators=count(tables.annotators, annotators.simulated),
                by_verdict=by_verdict,
            )

    def waiting(self, campaign: str | None = None) -> int:
        """How many judgements the tasks (of one campaign) still lack, each by the overlap that it was added with.

        Tasks with a known answer, and those that are one annotator's alone, are not waited for.
        """
        tasks, judgements = tables.tasks.c, tables.judgements
        given = sa.select(judgements.c.task_id, sa.func.count().label("number")).group_by(judgements.c.task_id)
        each = given.subquery()
        number = sa.func.coalesce(each.c.number, 0)
        lacking = sa.select(sa.func.coalesce(sa.func.sum(tasks.overlap - number), 0))
        lacking = lacking.select_from(tables.tasks.outerjoin(each, each.c.task_id == tasks.id))
        lacking = lacking.where(number < tasks.overlap, tasks.gold.is_(sa.null()), tasks.reserved_for.is_(None))
        if campaign is not None:
            lacking = lacking.where(tasks.campaign == campaign)
        with self.database.read() as connection:
            return int(connection.execute(lacking).scalar_one())

    def label_set_hash(self) -> str:
        """sha256 over what the judgements in force say, whatever order they came in.

        Times, keys, names and ids of annotators do not count: only which judgements are the same annotator's.
        """
        simulated = {annotator.id: annotator.simulated for annotator in self.annotators()}
        by_annotator: dict[str, list[str]] = defaultdict(list)
        for judgement in self.judgements():
            fields = [judgement.task_id, judgement.shown, tables.said(judgement.answer)]
            by_annotator[judgement.annotator_id].append(json.dumps(fields, ensure_ascii=False, sort_keys=True))
        each = sorted(json.dumps([simulated[who], sorted(lines)]) for who, lines in by_annotator.items())
        return hashlib.sha256("\n".join(each).encode()).hexdigest()

    # The database itself.

    def backup(self, path: str | Path) -> Path:
        """Copy a SQLite store to a new file, also while it is in use; `UserError` for PostgreSQL."""
        path = Path(path)
        if path.exists():
            raise UserError(f"{path} exists already. Choose a new file for the copy.")
        self.database.copy_to(path)
        return path

    def verify(self) -> list[str]:
        """What is wrong with the store, one line a problem; empty where all is well."""
        with self.database.read() as connection:
            return verification.problems(connection)

    def _judgements(self, statement: sa.Select[Any]) -> list[Judgement]:
        with self.database.read() as connection:
            return [tables.judgement_of(row) for row in connection.execute(statement)]

    def _by(self, column: sa.Column[Any]) -> Sequence[sa.Row[Any]]:
        """All rows of the column's table, in its order."""
        with self.database.read() as connection:
            return connection.execute(sa.select(column.table).order_by(column)).all()

    def _time(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")


_IN_FORCE = sa.select(tables.events).join(tables.judgements, tables.judgements.c.event == tables.events.c.number)
