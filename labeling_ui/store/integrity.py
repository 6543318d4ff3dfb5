"""Looking for what could never be: whether a label store is whole, and its parts agree with one another."""

from collections import Counter

import sqlalchemy as sa

from labeling_ui.data_model import OF_REVIEWERS
from labeling_ui.store import tables


def problems(connection: sa.Connection) -> list[str]:
    """One line for each problem of the store that the (reading) transaction sees."""
    found = _damage(connection) if connection.dialect.name == "sqlite" else []
    return found or [*_judgements(connection), *_decisions(connection), *_leases(connection), *_counters(connection)]


def _damage(connection: sa.Connection) -> list[str]:
    """What SQLite itself says; PostgreSQL enforces its foreign keys, and has tools of its own for damaged pages."""
    said = [str(line) for line in connection.exec_driver_sql("PRAGMA integrity_check").scalars() if line != "ok"]
    for table, number, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        said.append(f"row {number} of {table} refers to a row of {parent} that is not there")
    return said


def _judgements(connection: sa.Connection) -> list[str]:
    """Every judgement in force is its annotator's newest event on the task, and none is in force after an undo."""
    of_annotators = tables.events.c.action.not_in(OF_REVIEWERS)
    events = connection.execute(sa.select(tables.events).where(of_annotators).order_by(tables.events.c.number))
    newest = {(row.task_id, row.annotator_id): (row.number, row.action) for row in events}
    in_force = {(row.task_id, row.annotator_id): row.event for row in connection.execute(sa.select(tables.judgements))}
    said = []
    for task_id, annotator_id in newest.keys() | in_force.keys():
        number, action = newest.get((task_id, annotator_id), (None, "undo"))
        expected = None if action == "undo" else number
        if in_force.get((task_id, annotator_id)) != expected:
            said.append(f"the judgement of task {task_id} by annotator {annotator_id} is not what was last said")
    return sorted(said)


def _decisions(connection: sa.Connection) -> list[str]:
    """Every decision in force is the newest on its task, and just the tasks that have one are decided, or removed."""
    events, tasks = tables.events.c, tables.tasks.c
    said = sa.select(events.number, events.task_id, events.action).where(events.action.in_(OF_REVIEWERS))
    newest = {row.task_id: row for row in connection.execute(said.order_by(events.number))}
    pointed = {row.task_id: row.event for row in connection.execute(sa.select(tables.adjudications))}
    found = [
        f"the decision on task {task_id} is not what a reviewer said last"
        for task_id, number in sorted(pointed.items())
        if task_id not in newest or (newest[task_id].number, newest[task_id].action) != (number, "adjudicate")
    ]
    states = sa.select(tasks.id, tasks.state).where(tasks.state.in_(("decided", "removed")) | tasks.id.in_(pointed))
    for row in connection.execute(states.order_by(tasks.id)):
        if (row.state == "decided") != (row.id in pointed) and row.state != "removed":
            found.append(f"task {row.id} is {row.state}, and has {'a' if row.id in pointed else 'no'} decision")
    return found


def _leases(connection: sa.Connection) -> list[str]:
    leases, judgements = tables.leases.c, tables.judgements.c
    both = (judgements.task_id == leases.task_id) & (judgements.annotator_id == leases.annotator_id)
    judged = sa.select(leases.task_id, leases.annotator_id).join(tables.judgements, both)
    return [
        f"task {task_id} is leased to annotator {annotator_id}, who has judged it"
        for task_id, annotator_id in connection.execute(judged.order_by(leases.task_id))
    ]


def _counters(connection: sa.Connection) -> list[str]:
    taken = Counter(connection.execute(sa.select(tables.leases.c.task_id)).scalars())
    skips: Counter[str] = Counter()
    events, tasks = tables.events.c, tables.tasks.c
    said = sa.select(events.task_id, events.verdict).join(tables.judgements, tables.judgements.c.event == events.number)
    for task_id, verdict in connection.execute(said):
        (skips if verdict == "skip" else taken)[task_id] += 1
    found = []
    counted = sa.select(tasks.id, tasks.taken, tasks.skips, tasks.overlap, tasks.first_overlap)
    for row in connection.execute(counted.order_by(tasks.id)):
        if row.first_overlap is not None and row.overlap < row.first_overlap:
            found.append(f"task {row.id} asks {row.overlap} annotators; it was to ask {row.first_overlap} at first")
        if row.taken != taken[row.id]:
            found.append(f"task {row.id} counts {row.taken} places as taken; it has {taken[row.id]} answers and leases")
        if row.skips != skips[row.id]:
            found.append(f"task {row.id} counts {row.skips} skips; it has {skips[row.id]}")
    return found
