"""The label store: every SQL statement of the project.

A store is one database: a SQLite file, or PostgreSQL by URL. It may be used from any number of threads
and processes at once. What is acknowledged is on disk; a judgement, once taken, is never changed.
Which task is next and which side a response is shown on are rules of `assignment.py`.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from rlhf_pipeline.errors import UserError
from rlhf_pipeline.files import content_id
from rlhf_pipeline.labeling_ui import assignment, tables
from rlhf_pipeline.labeling_ui.database import Database, insert_new
from rlhf_pipeline.labeling_ui.records import VERDICTS, Annotator, Assignment, Candidate, Judgement, Prompt, Task

Outcome = Literal["taken", "repeated", "answered"]
"""Taken; the same key again; or another answer where this annotator had already answered the task."""

_LOOK = 500


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an annotator is: `total` is `done` and what could still be given to them."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What the store holds."""

    prompts: int
    candidates: int
    tasks: int
    judgements: int
    simulated_judgements: int
    annotators: int
    simulated_annotators: int
    by_verdict: dict[str, int]


class Store:
    """Prompts, candidates, tasks, annotators, leases and judgements."""

    def __init__(self, url_or_path: str | Path, clock: Callable[[], float] = time.time) -> None:
        """Open, or make, the store; `clock` tells the seconds since 1970 (only tests replace it)."""
        self._database = Database(url_or_path)
        self._clock = clock

    def close(self) -> None:
        """Give the database connections back."""
        self._database.close()

    # What is to be judged.

    def add_prompts(self, prompts: Iterable[Prompt]) -> int:
        """Add prompts; returns how many were new."""
        return self._add(prompts=prompts)

    def add_candidates(self, candidates: Iterable[Candidate]) -> int:
        """Add candidates of prompts that are in the store; returns how many were new."""
        return self._add(candidates=candidates)

    def add_tasks(self, tasks: Iterable[Task], overlap: int = 1) -> int:
        """Add tasks, each to be judged by `overlap` annotators; returns how many were new."""
        if overlap < 1:
            raise UserError(f"overlap is {overlap}: at least one annotator must judge each task.")
        return self._add(tasks=tasks, overlap=overlap)

    def prompts(self) -> list[Prompt]:
        """All prompts, by id."""
        return [tables.prompt_of(row) for row in self._by(tables.prompts.c.id)]

    def candidates(self) -> list[Candidate]:
        """All candidates, by id."""
        return [tables.candidate_of(row) for row in self._by(tables.candidates.c.id)]

    def tasks(self) -> list[Task]:
        """All tasks, by id."""
        return [tables.task_of(row) for row in self._by(tables.tasks.c.id)]

    # Who judges.

    def annotator(self, name: str, simulated: bool = False) -> Annotator:
        """The annotator of that name, made where there is none; simulated and human ones never share a name."""
        name = " ".join(name.split())
        if not name or len(name) > 100:
            raise UserError("an annotator's name must have 1 to 100 characters.")
        made = Annotator(id=content_id("annotator", name), name=name, simulated=simulated)
        by_name = sa.select(tables.annotators).where(tables.annotators.c.name == name)
        with self._database.read() as connection:
            found = connection.execute(by_name).first()
        if found is None:
            with self._database.write() as connection:
                insert_new(connection, tables.annotators, [{"id": made.id, "name": name, "simulated": simulated}])
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

    def next_assignment(self, annotator_id: str, lease_seconds: float = 600) -> Assignment | None:
        """Lease a task to the annotator: the one they have not answered yet, else the next; None when all is done.

        The lease is on disk before this returns, and no more annotators than its overlap hold or have
        answered a task. After `lease_seconds` an unanswered task may be given to another annotator.
        """
        now = self._clock()
        leases = tables.leases
        with self._database.write() as connection:
            self._require_annotator(connection, annotator_id)
            mine = sa.select(leases.c.task_id, leases.c.leased_until).where(leases.c.annotator_id == annotator_id)
            held = {row.task_id: row.leased_until for row in connection.execute(mine)}
            task_id = next((task_id for task_id, until in held.items() if until > now), None)
            if task_id is None:
                # A look at the least taken is enough to choose from; ids are hashes, so it is a random one.
                few = (tables.tasks.c.id.not_in(held), sa.text("taken"), tables.tasks.c.id)
                rows = connection.execute(_open_tasks(annotator_id, now).order_by(*few).limit(_LOOK))
                open_tasks = [assignment.OpenTask(row.id, row.taken) for row in rows]
                lapsed = [task for task in open_tasks if task.task_id in held]
                task_id = assignment.next_task(lapsed or open_tasks, annotator_id)
            if task_id is None:
                return None
            shown = _assignment(connection, task_id, annotator_id)
            lease: dict[str, Any] = {"left": shown.left.id, "leased_until": now + lease_seconds}
            if task_id in held:
                ours = (leases.c.task_id == task_id) & (leases.c.annotator_id == annotator_id)
                connection.execute(sa.update(leases).where(ours).values(lease))
            else:
                connection.execute(sa.insert(leases), [{"task_id": task_id, "annotator_id": annotator_id, **lease}])
            return shown

    def record(self, judgement: Judgement) -> bool:
        """Take a judgement, committed before this returns; False where it is in the store already.

        An answer is taken also after its lease ran out: nobody's work is thrown away, at the price of one
        judgement above the overlap where another annotator was given the task meanwhile.
        """
        return self.record_many([judgement])[0] == "taken"

    def record_many(
        self,
        judgements: Sequence[Judgement],
        *,
        prompts: Iterable[Prompt] = (),
        candidates: Iterable[Candidate] = (),
        tasks: Iterable[Task] = (),
        overlap: int = 1,
    ) -> list[Outcome]:
        """Take judgements, and what they are about, in one transaction: all of it or nothing."""
        with self._database.write() as connection:
            _insert(connection, prompts, candidates, tasks, overlap)
            outcomes, new = _sort_out(connection, judgements)
            if new:
                connection.execute(sa.insert(tables.judgements), [asdict(judgement) for judgement in new])
                done = [{"task": judgement.task_id, "annotator": judgement.annotator_id} for judgement in new]
                ended = (tables.leases.c.task_id == sa.bindparam("task")) & (
                    tables.leases.c.annotator_id == sa.bindparam("annotator")
                )
                connection.execute(sa.delete(tables.leases).where(ended), done)
        return outcomes

    def judgements(self) -> Iterator[Judgement]:
        """All judgements, in the order of their arrival."""
        return iter([tables.judgement_of(row) for row in self._by(tables.judgements.c.number)])

    # How far it is.

    def progress(self, annotator_id: str) -> Progress:
        """What the annotator has judged, and what is still open to them."""
        judgements = tables.judgements
        with self._database.read() as connection:
            self._require_annotator(connection, annotator_id)
            mine = sa.select(sa.func.count()).where(judgements.c.annotator_id == annotator_id)
            done = connection.execute(mine).scalar_one()
            left = sa.select(sa.func.count()).select_from(_open_tasks(annotator_id, self._clock()).subquery())
            return Progress(done, done + connection.execute(left).scalar_one())

    def counts(self) -> Counts:
        """How much of everything there is."""
        judgements, annotators = tables.judgements, tables.annotators
        with self._database.read() as connection:

            def count(table: sa.Table, *conditions: sa.ColumnElement[bool]) -> int:
                statement = sa.select(sa.func.count()).select_from(table).where(*conditions)
                return int(connection.execute(statement).scalar_one())

            simulated = sa.select(annotators.c.id).where(annotators.c.simulated)
            verdicts = sa.select(judgements.c.verdict, sa.func.count()).group_by(judgements.c.verdict)
            found = {verdict: number for verdict, number in connection.execute(verdicts)}
            return Counts(
                prompts=count(tables.prompts),
                candidates=count(tables.candidates),
                tasks=count(tables.tasks),
                judgements=count(judgements),
                simulated_judgements=count(judgements, judgements.c.annotator_id.in_(simulated)),
                annotators=count(annotators),
                simulated_annotators=count(annotators, annotators.c.simulated),
                by_verdict={verdict: found.get(verdict, 0) for verdict in VERDICTS},
            )

    def waiting(self) -> int:
        """How many judgements the tasks still lack, each by the overlap that it was added with."""
        tasks, judgements = tables.tasks, tables.judgements
        given = sa.select(sa.func.count()).where(judgements.c.task_id == tasks.c.id).scalar_subquery()
        lacking = sa.select(tasks.c.overlap - given).where(given < tasks.c.overlap)
        with self._database.read() as connection:
            return int(sum(connection.execute(lacking).scalars()))

    def label_set_hash(self) -> str:
        """sha256 over what the judgements say, whatever order they came in; times and keys do not count."""
        simulated = {annotator.id: annotator.simulated for annotator in self.annotators()}
        said = [
            [j.task_id, j.annotator_id, simulated[j.annotator_id], j.verdict, j.left, j.winner, j.strength]
            for j in self.judgements()
        ]
        lines = sorted(json.dumps(fields, ensure_ascii=False) for fields in said)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def _add(
        self,
        prompts: Iterable[Prompt] = (),
        candidates: Iterable[Candidate] = (),
        tasks: Iterable[Task] = (),
        overlap: int = 1,
    ) -> int:
        with self._database.write() as connection:
            return _insert(connection, prompts, candidates, tasks, overlap)

    def _by(self, column: sa.Column[Any]) -> Sequence[sa.Row[Any]]:
        """All rows of the column's table, in its order."""
        with self._database.read() as connection:
            return connection.execute(sa.select(column.table).order_by(column)).all()

    @staticmethod
    def _require_annotator(connection: sa.Connection, annotator_id: str) -> None:
        found = sa.select(tables.annotators.c.id).where(tables.annotators.c.id == annotator_id)
        if connection.execute(found).first() is None:
            raise UserError(f'there is no annotator "{annotator_id}" in this label store. Sign in again.')


def _insert(
    connection: sa.Connection,
    prompts: Iterable[Prompt],
    candidates: Iterable[Candidate],
    tasks: Iterable[Task],
    overlap: int,
) -> int:
    new = insert_new(
        connection,
        tables.prompts,
        [{"id": p.id, "messages": list(p.messages), "references": list(p.references)} for p in prompts],
    )
    try:
        new += insert_new(
            connection,
            tables.candidates,
            [
                {"id": c.id, "prompt_id": c.prompt_id, "response": c.response, "source": dict(c.source)}
                for c in candidates
            ],
        )
        return new + insert_new(
            connection,
            tables.tasks,
            [{"id": t.id, "prompt_id": t.prompt_id, "a": t.a, "b": t.b, "overlap": overlap} for t in tasks],
        )
    except sa.exc.IntegrityError as error:
        raise UserError(
            "a candidate needs its prompt, and a task needs its prompt and two different candidates, in the store "
            f"first ({error.orig}). Nothing of this step was saved."
        ) from error


def _open_tasks(annotator_id: str, now: float) -> sa.Select[Any]:
    """Tasks that lack judgements and that this annotator may still be given: columns `id` and `taken`."""
    tasks, leases, judgements = tables.tasks, tables.leases, tables.judgements
    answered = (
        sa.select(judgements.c.task_id, sa.func.count().label("number")).group_by(judgements.c.task_id).subquery()
    )
    leased = (
        sa.select(leases.c.task_id, sa.func.count().label("number"))
        .where(leases.c.leased_until > now, leases.c.annotator_id != annotator_id)
        .group_by(leases.c.task_id)
        .subquery()
    )
    mine = sa.select(judgements.c.task_id).where(judgements.c.annotator_id == annotator_id)
    taken = sa.func.coalesce(answered.c.number, 0) + sa.func.coalesce(leased.c.number, 0)
    return (
        sa.select(tasks.c.id, taken.label("taken"))
        .outerjoin(answered, answered.c.task_id == tasks.c.id)
        .outerjoin(leased, leased.c.task_id == tasks.c.id)
        .where(taken < tasks.c.overlap, tasks.c.id.not_in(mine))
    )


def _assignment(connection: sa.Connection, task_id: str, annotator_id: str) -> Assignment:
    task = tables.task_of(connection.execute(sa.select(tables.tasks).where(tables.tasks.c.id == task_id)).one())
    prompt = connection.execute(sa.select(tables.prompts).where(tables.prompts.c.id == task.prompt_id)).one()
    pair = connection.execute(sa.select(tables.candidates).where(tables.candidates.c.id.in_([task.a, task.b])))
    left = assignment.left_of(task, annotator_id)
    shown = sorted((tables.candidate_of(row) for row in pair), key=lambda candidate: candidate.id != left)
    return Assignment(task, annotator_id, tables.prompt_of(prompt), left=shown[0], right=shown[1])


def _sort_out(connection: sa.Connection, judgements: Sequence[Judgement]) -> tuple[list[Outcome], list[Judgement]]:
    """What becomes of each judgement, and the new ones made whole; `UserError` where one is impossible."""
    task_ids = {judgement.task_id for judgement in judgements}
    tasks = {row.id: tables.task_of(row) for row in _rows_in(connection, tables.tasks.c.id, task_ids)}
    annotators = {row.id for row in _rows_in(connection, tables.annotators.c.id, {j.annotator_id for j in judgements})}
    leased = {(r.task_id, r.annotator_id): r.left for r in _rows_in(connection, tables.leases.c.task_id, task_ids)}
    stored = [*_rows_in(connection, tables.judgements.c.task_id, task_ids)]
    stored += _rows_in(connection, tables.judgements.c.key, {judgement.key for judgement in judgements})
    by_key = {row.key: (row.task_id, row.annotator_id) for row in stored}
    answered = set(by_key.values())
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    outcomes: list[Outcome] = []
    new: list[Judgement] = []
    for judgement in judgements:
        if judgement.task_id not in tasks:
            raise UserError(f'there is no task "{judgement.task_id}" in this label store.')
        if judgement.annotator_id not in annotators:
            raise UserError(f'there is no annotator "{judgement.annotator_id}" in this label store. Sign in again.')
        pair = (judgement.task_id, judgement.annotator_id)
        assignment.check(judgement, tasks[judgement.task_id], leased.get(pair))
        key = judgement.key or "/".join(pair)
        if key in by_key and by_key[key] != pair:
            raise UserError(f'the key "{key}" was used for another judgement. Reload the page and answer again.')
        if key in by_key:
            outcomes.append("repeated")
        elif pair in answered:
            outcomes.append("answered")
        else:
            outcomes.append("taken")
            new.append(replace(judgement, key=key, created_at=judgement.created_at or now))
            by_key[key] = pair
            answered.add(pair)
    return outcomes, new


def _rows_in(connection: sa.Connection, column: sa.Column[Any], values: Iterable[str]) -> Iterator[sa.Row[Any]]:
    """All rows of the column's table whose value is among `values`."""
    wanted = sorted(values)
    for start in range(0, len(wanted), 10_000):  # SQLite takes 32,766 parameters a statement
        yield from connection.execute(sa.select(column.table).where(column.in_(wanted[start : start + 10_000])))
