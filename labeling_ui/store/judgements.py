"""Recording judgements and withdrawing them: each function works in the writing transaction that it is given.

Everything is appended to the log of events, with the settings of the campaign under which it was said. An answer takes
the place that its lease held. An answer that comes after its lease has ended is kept as well: nobody's work is thrown
away. It then takes a free place of the task, or that of an annotator who holds a lease and has not answered yet; if all
places are judged, the task is judged once more than its overlap. A skip takes no place: the task goes to others.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import Any, Literal

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.assignment.answer_validation import check_judgement
from labeling_ui.data_model import Answer, Assignment, Judgement
from labeling_ui.store import leases, tables
from labeling_ui.store.answering.places import change_places, end_places
from labeling_ui.store.answering.rewrites import without_unchanged_rewrites
from labeling_ui.store.answering.second_thoughts import is_copy, key_of_copy, said_before, with_copies
from labeling_ui.store.campaign_rules.adaptive_overlap import follow_answers
from labeling_ui.store.campaign_rules.qualification import final_answers, is_final, take_answers
from labeling_ui.store.campaign_rules.rule_tables import annotator_skills, qualification_tasks, qualifications
from labeling_ui.store.campaigns import Campaigns, Version, read_campaigns
from labeling_ui.store.database import rows_in
from labeling_ui.store.review.adjudication import LAST, last_number, reopen_all
from labeling_ui.store.review.standing import SAID, keep_standing, refresh

Outcome = Literal["taken", "edited", "repeated", "answered"]
"""Taken; put in the place of an earlier one; the same key again; or a second answer to the same task."""

_Pair = tuple[str, str]
_FINAL = "An answer of the qualification round is final: you were told the known answer."


def record_judgements(
    connection: sa.Connection, judgements: Sequence[Judgement], campaigns: Campaigns, now: float, time: str, *,
    on_page: bool = False,
) -> list[Outcome]:  # fmt: skip
    """Store the judgements that are new; returns what became of each. `UserError` if one is impossible.

    Those given `on_page` were asked for whatever the campaign requires, also where no lease says so.
    """
    said = with_copies(connection, without_unchanged_rewrites(connection, judgements))
    judgements = [judgement for judgement, _ in said]
    known = _look_up(connection, judgements, campaigns)
    said_before = known.said.copy()
    sorted_out = [(judgement, _outcome(judgement, known, on_page)) for judgement in judgements]
    new = [judgement for judgement, outcome in sorted_out if outcome in ("taken", "edited")]
    events = []
    for number, each in enumerate(new, start=known.last + 1):
        kept = replace(each, key=each.key or token_hex(16), created_at=each.created_at or time)
        events.append(tables.event_row(kept, number, known.version(each.task_id).number))
    in_force = [
        {"task_id": row["task_id"], "annotator_id": row["annotator_id"], "event": row["number"]} for row in events
    ]
    taken = [row for row, each in zip(in_force, new, strict=True) if each.action == "answer"]
    edited = [row for row, each in zip(in_force, new, strict=True) if each.action == "edit"]
    if events:
        connection.execute(sa.insert(tables.events), events)
    if taken:
        connection.execute(sa.insert(tables.judgements), taken)
        _take_places(connection, [each for each in new if each.action == "answer"], known, now)
    if edited:
        changed = sa.update(tables.judgements).where(_pair_of(tables.judgements)).values(event=sa.bindparam("to"))
        connection.execute(
            changed, [{"of": row["task_id"], "by": row["annotator_id"], "to": row["event"]} for row in edited]
        )
        change_places(connection, new, said_before)
    newest = {row["task_id"]: row["number"] for row in events}
    keep_standing(connection, [known.tasks[task_id] for task_id in newest], newest, known.answers(), known.versions)
    follow_answers(connection, campaigns.settings, newest)
    take_answers(connection, new, campaigns.settings, time)
    return [outcome for (_, outcome), (_, is_copy) in zip(sorted_out, said, strict=True) if not is_copy]


def withdraw_newest(
    connection: sa.Connection, annotator_id: str, key: str, campaigns: Campaigns, now: float, time: str
) -> Assignment | None:
    """Withdraw the annotator's newest judgement and lease them its task again, as their first.

    If it is an edit of a repeat, what was said of the original before is in force again.
    """
    judgements, events = tables.judgements, tables.events
    done = connection.execute(sa.select(events).where(events.c.key == key)).first()
    if done is not None:
        if done.annotator_id != annotator_id or done.action != "undo":
            raise UserError(f'the key "{key}" was used for a judgement. Reload the page and try again.')
        held = leases.leased_to(connection, annotator_id, campaigns)
        return next((each for each in held if each.previous and each.previous.key == key), None)
    mine = sa.select(events).join(judgements, judgements.c.event == events.c.number)
    mine = mine.where(judgements.c.annotator_id == annotator_id)
    newest = mine.where(~is_copy(events.c.key)).order_by(judgements.c.event.desc()).limit(1)
    row = connection.execute(newest).first()
    if row is None:
        return None
    copied = connection.execute(mine.where(events.c.key == key_of_copy(row.key))).first()
    if any(is_final(connection, each.task_id, annotator_id) for each in (row, copied) if each is not None):
        raise UserError(_FINAL)
    number = last_number(connection) + 1
    back = replace(tables.judgement_of(row), action="undo", key=key, created_at=time)
    connection.execute(sa.insert(events), [tables.event_row(back, number, row.settings)])
    ours = (judgements.c.task_id == row.task_id) & (judgements.c.annotator_id == annotator_id)
    connection.execute(sa.delete(judgements).where(ours))
    end_places(connection, [row.task_id], [row.verdict])
    numbers = {row.task_id: number}
    if copied is not None:
        numbers[copied.task_id] = number + 1
        _put_back(connection, copied, number + 1, key, time)
    refresh(connection, numbers, campaigns.versions)
    follow_answers(connection, campaigns.settings, list(numbers))
    granted, holder = tables.leases.c.granted, tables.leases.c.annotator_id
    first = sa.select(sa.func.coalesce(sa.func.min(granted), 1)).where(holder == annotator_id)
    place = connection.execute(first).scalar_one() - 1
    seen = leases.judged_assignment(connection, back, campaigns)
    leases.lease(connection, seen.task, annotator_id, seen.campaign, now, place, back.shown, number)
    return seen


def _put_back(connection: sa.Connection, copied: sa.Row[Any], number: int, key: str, time: str) -> None:
    """Let be in force again, as an edit, what the author of a copy had said of its task before."""
    before = said_before(connection, copied)
    said = replace(tables.judgement_of(before), action="edit", seconds=None, key=key_of_copy(key), created_at=time)
    connection.execute(sa.insert(tables.events), [tables.event_row(said, number, before.settings)])
    pair = {"of": copied.task_id, "by": copied.annotator_id}
    connection.execute(sa.update(tables.judgements).where(_pair_of(tables.judgements)).values(event=number), pair)
    was = tables.judgement_of(copied).answer
    change_places(connection, [said], {(copied.task_id, copied.annotator_id): was})


def history(connection: sa.Connection, annotator_id: str, limit: int) -> list[Judgement]:
    """The annotator's own judgements in force, the newest first; of a task that came again, the later one alone."""
    again, given = tables.tasks.alias(), tables.judgements.alias()
    repeated = sa.select(again.c.id).join(given, given.c.task_id == again.c.id)
    repeated = repeated.where(again.c.reserved_for == annotator_id, again.c.repeat_of == tables.judgements.c.task_id)
    mine = IN_FORCE.where(tables.judgements.c.annotator_id == annotator_id, ~repeated.exists())
    rows = connection.execute(mine.order_by(tables.judgements.c.event.desc()).limit(limit))
    return [tables.judgement_of(row) for row in rows]


def delete_judgements(connection: sa.Connection, annotator_id: str) -> int:
    """Delete all that the annotator said, and what was reserved for them; returns how many judgements there were.

    Tasks that they decided as a reviewer are open again.
    """
    leases.release(connection, annotator_id)
    judgements, events = tables.judgements, tables.events
    for table in (annotator_skills, qualification_tasks, qualifications):
        connection.execute(sa.delete(table).where(table.c.annotator_id == annotator_id))
    reopen_all(connection, annotator_id)
    mine = sa.select(events.c.task_id, events.c.verdict).join(judgements, judgements.c.event == events.c.number)
    given = connection.execute(mine.where(judgements.c.annotator_id == annotator_id)).all()
    connection.execute(sa.delete(judgements).where(judgements.c.annotator_id == annotator_id))
    end_places(connection, [row.task_id for row in given], [row.verdict for row in given])
    connection.execute(sa.delete(events).where(events.c.annotator_id == annotator_id))
    theirs = sa.select(tables.tasks.c.id).where(tables.tasks.c.reserved_for == annotator_id)
    for table in (tables.task_changes, tables.adjudications, events):  # the latter: what reviewers said of them
        connection.execute(sa.delete(table).where(table.c.task_id.in_(theirs)))
    connection.execute(sa.delete(tables.tasks).where(tables.tasks.c.reserved_for == annotator_id))
    campaigns = read_campaigns(connection)
    refresh(connection, {row.task_id: 0 for row in given}, campaigns.versions)
    follow_answers(connection, campaigns.settings, [row.task_id for row in given])
    return len(given)


@dataclass(frozen=True, slots=True)
class _Known:
    """What the store holds of the tasks and keys of some judgements, updated as each is recorded."""

    tasks: dict[str, sa.Row[Any]]
    annotators: set[str]
    versions: Mapping[tuple[str, int], Version]
    leases: dict[_Pair, sa.Row[Any]]
    keys: dict[str, tuple[_Pair, str]]
    said: dict[_Pair, Answer]
    """Of the judgements in force."""
    shown: dict[_Pair, Sequence[str]]
    """Of the judgements in force."""
    final: set[_Pair]
    """Whose authors were told the known answer, in a qualification round."""
    last: int
    """The number of the newest event."""

    def version(self, task_id: str) -> Version:
        """The version of the campaign that the task is of."""
        return self.versions[self.tasks[task_id].campaign, self.tasks[task_id].version]

    def answers(self) -> dict[str, list[Answer]]:
        """The answers in force on each task, in the order of their annotators' ids."""
        found: dict[str, list[Answer]] = {}
        for (task_id, _), answer in sorted(self.said.items(), key=lambda each: each[0]):
            found.setdefault(task_id, []).append(answer)
        return found


def _look_up(connection: sa.Connection, judgements: Sequence[Judgement], campaigns: Campaigns) -> _Known:
    task_ids = {judgement.task_id for judgement in judgements}
    keys = {judgement.key for judgement in judgements if judgement.key}
    edits = any(judgement.action == "edit" for judgement in judgements)
    said = list(rows_in(connection, tables.judgements.c.task_id, task_ids, SAID))
    who = {judgement.annotator_id for judgement in judgements}
    people = list(rows_in(connection, tables.annotators.c.id, who, _PEOPLE))
    tasks = list(rows_in(connection, tables.tasks.c.id, task_ids, _TASKS))
    return _Known(
        tasks={row.id: row for row in tasks},
        annotators={row.id for row in people},
        versions=campaigns.versions,
        leases={(row.id, row.holder): row for row in tasks if row.holder is not None},
        keys={row.key: (_pair(row), row.action) for row in rows_in(connection, tables.events.c.key, keys)},
        said={_pair(row): tables.answer_of(row.answer) for row in said},
        shown={_pair(row): row.shown for row in said},
        final=final_answers(connection, task_ids) if edits else set(),
        last=max((row.last for row in people), default=0),
    )


def _outcome(judgement: Judgement, known: _Known, on_page: bool) -> Outcome:
    """What becomes of a judgement after those before it; `UserError` if it is impossible."""
    pair = (judgement.task_id, judgement.annotator_id)
    if judgement.task_id not in known.tasks:
        raise UserError(f'there is no task "{judgement.task_id}" in this label store.')
    if judgement.annotator_id not in known.annotators:
        raise UserError(f'there is no annotator "{judgement.annotator_id}" in this label store. Sign in again.')
    task = tables.task_of(known.tasks[judgement.task_id])
    if task.reserved_for not in (None, judgement.annotator_id):
        raise UserError(f"the task {task.id} is another annotator's.")
    if judgement.action not in ("answer", "edit"):
        raise UserError(f'a judgement is an answer or an edit, not "{judgement.action}".')
    is_edit = judgement.action == "edit"
    lease = known.leases.get(pair)
    shown = known.shown.get(pair) if is_edit else lease.shown if lease else None
    check_judgement(judgement, task, known.version(task.id).campaign, shown, on_page)
    if judgement.key in known.keys:
        if known.keys[judgement.key] != (pair, judgement.action):
            raise UserError(f'the key "{judgement.key}" was used for another judgement. Reload the page.')
        return "repeated"
    if is_edit and pair in known.final:
        raise UserError(_FINAL)
    if is_edit and pair not in known.shown:
        raise UserError(f"there is no judgement of task {task.id} to edit: it was withdrawn, or never given.")
    if not is_edit and pair in known.shown:
        return "answered"
    known.shown[pair] = judgement.shown
    known.said[pair] = judgement.answer
    if judgement.key:
        known.keys[judgement.key] = (pair, judgement.action)
    return "edited" if is_edit else "taken"


def _take_places(connection: sa.Connection, answered: Sequence[Judgement], known: _Known, now: float) -> None:
    """Turn leases into judgements; if there was no lease, find another place for the answer. A skip takes none."""
    pairs = [(each.task_id, each.annotator_id) for each in answered]
    skips = Counter(each.task_id for each in answered if each.answer.verdict == "skip")
    answers = Counter(each.task_id for each in answered) - skips
    ended = [pair for pair in pairs if pair in known.leases]
    given_up = Counter(task_id for task_id, _ in ended)
    change = {task_id: answers[task_id] - given_up[task_id] for task_id, _ in pairs}
    for task_id, number in change.items():
        task = known.tasks[task_id]
        if task.gold is None and number > 0:
            # Lapsed leases give way first, then those that were given last.
            others = [row for pair, row in known.leases.items() if pair[0] == task_id and pair not in ended]
            others.sort(key=lambda row: (row.leased_until > now, -row.leased_until))
            yielding = others[: max(task.taken + number - task.overlap, 0)]
            ended += [(row.id, row.holder) for row in yielding]
            change[task_id] -= len(yielding)
    if ended:
        connection.execute(_OVER, [{"of": task_id, "by": annotator_id} for task_id, annotator_id in ended])
    leases.change_taken(connection, change, skips)


def _pair(row: sa.Row[Any]) -> _Pair:
    return row.task_id, row.annotator_id


def _pair_of(table: sa.Table) -> sa.ColumnElement[bool]:
    """The row of a task and an annotator that the parameters `of` and `by` name."""
    return (table.c.task_id == sa.bindparam("of")) & (table.c.annotator_id == sa.bindparam("by"))


IN_FORCE = sa.select(tables.events).join(tables.judgements, tables.judgements.c.event == tables.events.c.number)
"""The judgements in force."""
_PEOPLE = sa.select(tables.annotators.c.id, LAST.scalar_subquery().label("last"))
"""Those who judge, each with the number of the newest event."""
_HELD = tables.leases.c
_TASKS = sa.select(tables.tasks, _HELD.annotator_id.label("holder"), _HELD.shown, _HELD.leased_until).outerjoin(
    tables.leases, _HELD.task_id == tables.tasks.c.id
)
"""Each task once for each annotator who holds it, or once."""
_OVER = sa.delete(tables.leases).where(_pair_of(tables.leases))
