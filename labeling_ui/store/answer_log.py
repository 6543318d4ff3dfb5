"""The whole log of a store, event by event with all that it is about: read out of one store, taken into another.

Taken in as it was read, a log leaves the same label set: ids, order, times, versions and settings are kept. Left out:
accounts, leases, and tasks of which nobody has said anything. Each function works in the transaction that it is given.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.assignment.answer_validation import check_judgement, check_task
from labeling_ui.data_model import OF_REVIEWERS, Annotator, Candidate, Judgement, Prompt, Task
from labeling_ui.store import tables
from labeling_ui.store.campaign_rules.adaptive_overlap import follow_answers
from labeling_ui.store.campaigns import (
    Version,
    campaigns_of,
    log_settings,
    settings_by_number,
    settings_now,
    versions_of,
)
from labeling_ui.store.database import insert_new, rows_in
from labeling_ui.store.review.adjudication import point_to
from labeling_ui.store.review.standing import naming_their_model, refresh

_CHUNK = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """An event, and what it is about: `candidates` in the order in which they were shown."""

    judgement: Judgement
    in_force: bool
    task: Task
    overlap: int
    first_overlap: int | None
    prompt: Prompt
    candidates: tuple[Candidate, ...]
    annotator: Annotator
    version: Version


def entries(connection: sa.Connection, campaign: str | None = None) -> Iterator[Entry]:
    """Every event (of one campaign) in the order of arrival; holds no more than a thousand of them in memory."""
    events, tasks = tables.events, tables.tasks
    settings = settings_by_number(connection)
    people = {row.id: tables.annotator_of(row) for row in connection.execute(sa.select(tables.annotators))}
    following = sa.select(events).order_by(events.c.number).limit(_CHUNK)
    if campaign is not None:
        following = following.join(tasks, tasks.c.id == events.c.task_id).where(tasks.c.campaign == campaign)
    last = 0
    while rows := connection.execute(following.where(events.c.number > last)).all():
        last = rows[-1].number
        of_tasks = {row.id: row for row in rows_in(connection, tasks.c.id, (row.task_id for row in rows))}
        shown = (candidate for row in rows for candidate in row.shown)
        found = rows_in(connection, tables.candidates.c.id, shown)
        candidates = {row.id: tables.candidate_of(row) for row in found}
        asked = rows_in(connection, tables.prompts.c.id, (row.prompt_id for row in of_tasks.values()))
        prompts = {row.id: tables.prompt_of(row) for row in asked}
        judgements = tables.judgements.c
        in_force = {row.event for row in rows_in(connection, judgements.task_id, of_tasks)}
        in_force |= {row.event for row in rows_in(connection, tables.adjudications.c.task_id, of_tasks)}
        for row in rows:
            task = of_tasks[row.task_id]
            yield Entry(
                tables.judgement_of(row), row.number in in_force, tables.task_of(task), task.overlap,
                task.first_overlap, prompts[task.prompt_id], tuple(candidates[one] for one in row.shown),
                people[row.annotator_id], settings[row.settings],
            )  # fmt: skip


class Restoring:
    """Takes entries in, in the order of their log."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._mine = {name: now.version for name, now in campaigns_of(connection).items()}  # there before
        self._brought: dict[str, int] = {}  # the newest version of each campaign that came
        self._settings = {_key(each): number for number, each in settings_by_number(connection).items()}
        self._last = connection.execute(
            sa.select(sa.func.coalesce(sa.func.max(tables.events.c.number), 0))
        ).scalar_one()
        given = connection.execute(sa.select(tables.judgements))
        self._in_force: dict[tuple[str, str], int] = {(row.task_id, row.annotator_id): row.event for row in given}
        decided = connection.execute(sa.select(tables.adjudications))
        self._decided: dict[str, int] = {row.task_id: row.event for row in decided}

    def take(self, some: Iterable[Entry]) -> Iterator[str]:
        """Take entries in; yields for each "taken", "repeated" if it was there, or why it was left out."""
        remaining = iter(some)
        while chunk := list(islice(remaining, _CHUNK)):
            yield from self._take(chunk)

    def _take(self, chunk: Sequence[Entry]) -> Iterator[str]:
        connection, events = self._connection, tables.events
        numbers = [self._number(each) for each in chunk]
        prompts = {each.prompt.id: each.prompt for each in chunk}
        insert_new(connection, tables.prompts, [tables.prompt_row(prompt) for prompt in prompts.values()])
        candidates = {one.id: one for each in chunk for one in each.candidates}
        insert_new(connection, tables.candidates, [tables.candidate_row(one) for one in candidates.values()])
        self._add_annotators({each.annotator.id: each.annotator for each in chunk}, chunk)
        flagged = naming_their_model(candidates.values())
        tasks = {
            each.task.id: {
                **tables.task_row(each.task, each.overlap, each.first_overlap),
                "flagged": not flagged.isdisjoint(each.task.candidates),
            }
            for each in chunk
        }  # fmt: skip
        insert_new(connection, tables.tasks, list(tasks.values()))
        known = {row.key for row in rows_in(connection, events.c.key, (each.judgement.key for each in chunk))}
        rows, touched, outcomes = [], dict[tuple[str, str], None](), []
        newest: dict[str, int] = {}
        decided: dict[str, int | None] = {}
        for each, settings in zip(chunk, numbers, strict=True):
            said = each.judgement
            pair = (said.task_id, said.annotator_id)
            outcome = "repeated" if said.key in known else self._refusal(said, pair)
            outcomes.append(outcome)
            if outcome != "taken":
                continue
            known.add(said.key)
            self._last += 1
            rows.append(tables.event_row(said, self._last, settings))
            newest[said.task_id] = self._last
            if said.action in OF_REVIEWERS:
                decided[said.task_id] = self._last if said.action == "adjudicate" else None
                self._decided.pop(said.task_id, None)
                if said.action == "adjudicate":
                    self._decided[said.task_id] = self._last
                continue
            touched[pair] = None
            if said.action == "undo":
                del self._in_force[pair]
            else:
                self._in_force[pair] = self._last
        if rows:
            connection.execute(sa.insert(events), rows)
        self._put_in_force(list(touched))
        point_to(connection, decided)
        refresh(connection, newest, versions_of(connection))
        follow_answers(connection, settings_now(connection), newest)
        yield from outcomes

    def _refusal(self, said: Judgement, pair: tuple[str, str]) -> str:
        if said.action in OF_REVIEWERS:
            there = said.action == "adjudicate" or said.task_id in self._decided
            return "taken" if there else "it withdraws a decision that is not there"
        if said.action == "answer" and pair in self._in_force:
            return "this annotator has judged this task before, and otherwise"
        if said.action != "answer" and pair not in self._in_force:
            return f"it is an {said.action} of a judgement that is not there"
        return "taken"

    def _number(self, entry: Entry) -> int:
        """The row of the log of settings under which the entry was said."""
        version, name = entry.version, entry.version.campaign.name
        key = _key(version)
        if key in self._settings:
            return self._settings[key]
        connection = self._connection
        if name in self._mine:
            known = versions_of(connection).get((name, version.version))
            if known is None or known.campaign.meaning != version.campaign.meaning:
                raise UserError(
                    f'version {version.version} of the campaign "{name}" is another one here than in the file. Take '
                    "the file into a store of its own. Nothing was imported."
                )
        number = log_settings(connection, version.campaign, version.version, entry.judgement.created_at)
        self._settings[key] = number
        if name not in self._mine and version.version >= self._brought.get(name, 0):
            campaigns = tables.campaigns
            if name not in self._brought:
                last = sa.select(sa.func.coalesce(sa.func.max(campaigns.c.number), 0))
                row = {"name": name, "number": connection.execute(last).scalar_one() + 1, "current": number}
                connection.execute(sa.insert(campaigns), [row])
            connection.execute(sa.update(campaigns).where(campaigns.c.name == name).values(current=number))
            self._brought[name] = version.version
        return number

    def _add_annotators(self, people: dict[str, Annotator], chunk: Sequence[Entry]) -> None:
        table = tables.annotators
        known = {row.id: row for row in rows_in(self._connection, table.c.id, people)}
        named = {
            row.name: row for row in rows_in(self._connection, table.c.name, (one.name for one in people.values()))
        }
        for one in people.values():
            there = known.get(one.id) or named.get(one.name)
            if there is not None and (there.id, there.simulated) != (one.id, one.simulated):
                raise UserError(
                    f'the annotator "{one.name}" is somebody else here than in the file. Take the file into a store of '
                    "its own. Nothing was imported."
                )
        since = chunk[0].judgement.created_at
        rows = [
            {"id": one.id, "name": one.name, "simulated": one.simulated, "created_at": since}
            for one in people.values()
            if one.id not in known
        ]
        insert_new(self._connection, table, rows)

    def _put_in_force(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Let the judgements table and the tasks' counters say what is in force of these."""
        connection, judgements, tasks = self._connection, tables.judgements, tables.tasks
        if not pairs:
            return
        pair = (judgements.c.task_id == sa.bindparam("of")) & (judgements.c.annotator_id == sa.bindparam("by"))
        connection.execute(sa.delete(judgements).where(pair), [{"of": of, "by": by} for of, by in pairs])
        rows = [
            {"task_id": of, "annotator_id": by, "event": self._in_force[of, by]}
            for of, by in pairs
            if (of, by) in self._in_force
        ]
        if rows:
            connection.execute(sa.insert(judgements), rows)
        said = sa.select(sa.func.count()).select_from(judgements)
        said = said.join(tables.events, tables.events.c.number == judgements.c.event)
        said = said.where(judgements.c.task_id == tasks.c.id)
        skips = said.where(tables.events.c.verdict == "skip").scalar_subquery()
        answers = said.where(tables.events.c.verdict != "skip").scalar_subquery()
        held = sa.select(sa.func.count()).where(tables.leases.c.task_id == tasks.c.id).scalar_subquery()
        counted = (
            sa.update(tasks).where(tasks.c.id == sa.bindparam("of_task")).values(taken=answers + held, skips=skips)
        )
        connection.execute(counted, [{"of_task": task_id} for task_id in dict.fromkeys(of for of, _ in pairs)])


def check_entry(entry: Entry) -> None:
    """Raise `UserError` if the entry is impossible: an answer that does not fit what was asked."""
    check_task(entry.task, entry.version.campaign)
    check_judgement(entry.judgement, entry.task, entry.version.campaign)


def _key(version: Version) -> tuple[str, int, str]:
    settings: dict[str, Any] = version.campaign.model_dump(mode="json")
    return version.campaign.name, version.version, json.dumps(settings, sort_keys=True)
