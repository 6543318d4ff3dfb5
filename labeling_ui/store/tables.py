"""The label store's tables, as the newest migration leaves them, and their rows as records.

`campaign_settings` is append-only: every version of a campaign, and every change of its settings; each event points to
those under which it was said. `leases` promise a task to an annotator for a while. `events` is append-only: every
answer, edit and undo, in the order of arrival; `judgements` points to the one event of an annotator on a task that is
in force. `tasks.taken` counts a task's answers in force and its leases, `tasks.skips` its skips in force; both are kept
in the transaction that changes them, so that finding the next task needs no counting. So are `activity`, the newest
event on the task, and `disagreement` of its answers, by which a lead looks at tasks. `adjudications` points to the one
event by which a reviewer decided a task; `task_changes` logs who paused, removed or restored one.
"""

from typing import Any

import sqlalchemy as sa

from labeling_ui.data_model import Annotator, Answer, Candidate, Judgement, Prompt, Task
from labeling_ui.store.account_tables import annotators as annotators
from labeling_ui.store.account_tables import api_keys as api_keys
from labeling_ui.store.account_tables import invitations as invitations
from labeling_ui.store.account_tables import marked_texts as marked_texts
from labeling_ui.store.account_tables import metadata as metadata
from labeling_ui.store.account_tables import server_secrets as server_secrets
from labeling_ui.store.account_tables import sign_in_attempts as sign_in_attempts

campaign_settings = sa.Table(
    "campaign_settings",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),  # the order in which they came to apply
    sa.Column("campaign", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("settings", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
)

campaigns = sa.Table(
    "campaigns",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False, server_default="0"),  # the order in which they were made
    sa.Column("current", sa.Integer, sa.ForeignKey("campaign_settings.number")),
)

prompts = sa.Table(
    "prompts",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("messages", sa.JSON, nullable=False),
    sa.Column("references", sa.JSON, nullable=False),
)

candidates = sa.Table(
    "candidates",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("prompt_id", sa.Text, sa.ForeignKey("prompts.id"), nullable=False),
    sa.Column("response", sa.Text, nullable=False),
    sa.Column("source", sa.JSON, nullable=False),
)

# The same words stand in the indexes and in the statements that are to use them.
ENOUGH_SKIPS = 3
"""So many annotators may skip a task before it is left to a reviewer."""
_OPEN_TO_ALL = "gold IS NULL AND reserved_for IS NULL AND state = 'open'"
OPEN = f"taken < overlap AND skips < {ENOUGH_SKIPS} AND {_OPEN_TO_ALL}"
FOR_REVIEW = f"taken < overlap AND skips >= {ENOUGH_SKIPS} AND {_OPEN_TO_ALL}"
GOLD = "gold IS NOT NULL AND state = 'open'"
DIVIDED = "disagreement > 0"
NOT_OPEN = "state <> 'open'"
FLAGGED = "flagged"

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("campaign", sa.Text, sa.ForeignKey("campaigns.name"), nullable=False),
    sa.Column("prompt_id", sa.Text, sa.ForeignKey("prompts.id"), nullable=False),
    sa.Column("candidates", sa.JSON, nullable=False),
    sa.Column("overlap", sa.Integer, nullable=False),
    sa.Column("first_overlap", sa.Integer),  # as asked at first, if the campaign may change it
    sa.Column("priority", sa.Double, nullable=False, server_default="0"),
    sa.Column("gold", sa.JSON(none_as_null=True)),
    sa.Column("repeat_of", sa.Text, sa.ForeignKey("tasks.id")),
    sa.Column("reserved_for", sa.Text, sa.ForeignKey("annotators.id")),
    sa.Column("taken", sa.Integer, nullable=False, server_default="0"),
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),
    sa.Column("skips", sa.Integer, nullable=False, server_default="0"),
    sa.Column("state", sa.Text, nullable=False, server_default="open"),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),  # of a chooser; empty: drawn at random
    sa.Column("activity", sa.Integer, nullable=False, server_default="0"),
    sa.Column("disagreement", sa.Double, nullable=False, server_default="0"),
    sa.Column("flagged", sa.Boolean, nullable=False, server_default=sa.false()),  # a response names its model
    sa.CheckConstraint("overlap >= 1", name="overlap_at_least_one"),
    sa.CheckConstraint("taken >= 0", name="taken_at_least_none"),
)


def _index(name: str, condition: str, *columns: Any) -> None:
    """Of those tasks alone that meet the condition."""
    sa.Index(name, *columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))


_IN_CAMPAIGN = (tasks.c.campaign, tasks.c.version)
_index("open_tasks_by_priority", OPEN, *_IN_CAMPAIGN, tasks.c.priority.desc(), tasks.c.taken, tasks.c.id)
_index("open_tasks", OPEN, *_IN_CAMPAIGN, tasks.c.taken, tasks.c.id)
_index("tasks_for_review", FOR_REVIEW, *_IN_CAMPAIGN, tasks.c.id)
_index("gold_tasks", GOLD, *_IN_CAMPAIGN, tasks.c.id)
_index("divided_tasks", DIVIDED, tasks.c.disagreement.desc(), tasks.c.id)
_index("tasks_not_open", NOT_OPEN, tasks.c.state, tasks.c.activity.desc(), tasks.c.id)
_index("flagged_tasks", FLAGGED, tasks.c.activity.desc(), tasks.c.id)
sa.Index("repeats", tasks.c.reserved_for, tasks.c.repeat_of)
sa.Index("repeats_of", tasks.c.repeat_of)
sa.Index("tasks_by_activity", tasks.c.activity.desc(), tasks.c.id)
sa.Index("tasks_of_prompt", tasks.c.prompt_id)
sa.Index("candidates_of_prompt", candidates.c.prompt_id)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), primary_key=True),
    sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), primary_key=True),
    sa.Column("shown", sa.JSON, nullable=False),
    sa.Column("leased_until", sa.Double, nullable=False),  # seconds since 1970, by the server's clock
    sa.Column("lasts", sa.Double, nullable=False),  # seconds; no lease reaches further than this from now
    sa.Column("granted", sa.Integer, nullable=False),  # the order in which the annotator sees them
    sa.Column("undone", sa.Integer, sa.ForeignKey("events.number")),  # what they said before they withdrew it
    sa.Index("leases_by_annotator", "annotator_id", "granted"),
    sa.Index("leases_by_end", "leased_until"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),  # the order of arrival
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), nullable=False),
    sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), nullable=False),
    sa.Column("action", sa.Text, nullable=False),  # `Action`; an undo, or a reopening, repeats what it withdraws
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("answer", sa.JSON, nullable=False),
    sa.Column("shown", sa.JSON, nullable=False),
    sa.Column("seconds", sa.Double),
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("settings", sa.Integer, sa.ForeignKey("campaign_settings.number")),  # under which this was said
    sa.Column("view", sa.Text),  # rendered, raw or both
    sa.Column("aids", sa.JSON(none_as_null=True)),  # what was shown on request: differences, length
    sa.Index("events_by_task", "task_id", "annotator_id"),
    sa.Index("events_by_time", "created_at"),
)

judgements = sa.Table(
    "judgements",
    metadata,
    sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), primary_key=True),
    sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), primary_key=True),
    sa.Column("event", sa.Integer, sa.ForeignKey("events.number"), nullable=False, unique=True),
    sa.Index("judgements_by_annotator", "annotator_id", "event"),
)

adjudications = sa.Table(
    "adjudications",
    metadata,
    sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), primary_key=True),
    sa.Column("event", sa.Integer, sa.ForeignKey("events.number"), nullable=False, unique=True),
)

task_changes = sa.Table(
    "task_changes",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), nullable=False),
    sa.Column("person_id", sa.Text, sa.ForeignKey("annotators.id"), nullable=False),
    sa.Column("change", sa.Text, nullable=False),  # pause, resume, remove or restore
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Index("changes_by_task", "task_id"),
)


def prompt_of(row: sa.Row[Any]) -> Prompt:
    """A row of `prompts` as a record."""
    return Prompt(id=row.id, messages=tuple(row.messages), references=tuple(row.references))


def prompt_row(prompt: Prompt) -> dict[str, Any]:
    """A record as a row of `prompts`."""
    return {"id": prompt.id, "messages": list(prompt.messages), "references": list(prompt.references)}


def candidate_row(candidate: Candidate) -> dict[str, Any]:
    """A record as a row of `candidates`."""
    return {
        "id": candidate.id, "prompt_id": candidate.prompt_id, "response": candidate.response,
        "source": dict(candidate.source),
    }  # fmt: skip


def candidate_of(row: sa.Row[Any]) -> Candidate:
    """A row of `candidates` as a record."""
    return Candidate(id=row.id, prompt_id=row.prompt_id, response=row.response, source=row.source)


def task_of(row: sa.Row[Any]) -> Task:
    """A row of `tasks` as a record."""
    return Task(
        id=row.id,
        prompt_id=row.prompt_id,
        candidates=tuple(row.candidates),
        campaign=row.campaign,
        gold=None if row.gold is None else answer_of(row.gold),
        repeat_of=row.repeat_of,
        reserved_for=row.reserved_for,
        version=row.version, state=row.state, reason=row.reason,
    )  # fmt: skip


def task_row(task: Task, overlap: int, first_overlap: int | None = None) -> dict[str, Any]:
    """A record as a row of `tasks`."""
    return {
        "id": task.id,
        "campaign": task.campaign,
        "prompt_id": task.prompt_id,
        "candidates": list(task.candidates),
        "overlap": overlap,
        "first_overlap": first_overlap,
        "gold": None if task.gold is None else said(task.gold),
        "repeat_of": task.repeat_of,
        "reserved_for": task.reserved_for,
        "version": task.version,
        "state": task.state, "reason": task.reason,
    }  # fmt: skip


def annotator_of(row: sa.Row[Any]) -> Annotator:
    """A row of `annotators` as a record."""
    return Annotator(id=row.id, name=row.name, simulated=row.simulated, role=row.role)


def judgement_of(row: sa.Row[Any]) -> Judgement:
    """A row of `events` as a record."""
    return Judgement(
        task_id=row.task_id,
        annotator_id=row.annotator_id,
        shown=tuple(row.shown),
        answer=answer_of(row.answer),
        seconds=row.seconds,
        created_at=row.created_at,
        key=row.key,
        action=row.action,
        view=row.view,
        aids=None if row.aids is None else tuple(row.aids),
    )


def event_row(judgement: Judgement, number: int, settings: int) -> dict[str, Any]:
    """A record as a row of `events`; `settings` is the row of `campaign_settings` under which it was said."""
    return {
        "number": number,
        "key": judgement.key,
        "task_id": judgement.task_id,
        "annotator_id": judgement.annotator_id,
        "action": judgement.action,
        "verdict": judgement.answer.verdict,
        "answer": said(judgement.answer),
        "shown": list(judgement.shown),
        "seconds": judgement.seconds,
        "created_at": judgement.created_at,
        "settings": settings,
        "view": judgement.view,
        "aids": None if judgement.aids is None else list(judgement.aids),
    }


def said(answer: Answer) -> dict[str, Any]:
    """An answer as JSON, without what it leaves out."""
    fields = {
        "verdict": answer.verdict,
        "winner": answer.winner,
        "strength": answer.strength,
        "ranking": [list(group) for group in answer.ranking],
        "ratings": {aspect: dict(given) for aspect, given in answer.ratings.items()},
        "reason": answer.reason,
        "rationale": answer.rationale,
        "rewrite": answer.rewrite,
        "not_applicable": list(answer.not_applicable),
    }
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}


def answer_of(fields: dict[str, Any]) -> Answer:
    """An answer from its JSON."""
    tuples = {
        "ranking": tuple(tuple(group) for group in fields.get("ranking", ())),
        "not_applicable": tuple(fields.get("not_applicable", ())),
    }
    return Answer(**{**fields, **tuples})
