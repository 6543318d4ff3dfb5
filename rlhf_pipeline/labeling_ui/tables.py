"""The label store's tables, as the newest migration leaves them, and their rows as records.

`leases` promise a task to an annotator for a while; a judgement replaces its lease. `judgements` is
append-only: nothing in the project updates or deletes a row of it.
"""

from typing import Any

import sqlalchemy as sa

from rlhf_pipeline.labeling_ui.records import Annotator, Candidate, Judgement, Prompt, Task

metadata = sa.MetaData()

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

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("prompt_id", sa.Text, sa.ForeignKey("prompts.id"), nullable=False),
    sa.Column("a", sa.Text, sa.ForeignKey("candidates.id"), nullable=False),
    sa.Column("b", sa.Text, sa.ForeignKey("candidates.id"), nullable=False),
    sa.Column("overlap", sa.Integer, nullable=False),
    sa.CheckConstraint("overlap >= 1", name="overlap_at_least_one"),
    sa.CheckConstraint("a <> b", name="two_candidates"),
)

annotators = sa.Table(
    "annotators",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("simulated", sa.Boolean, nullable=False),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), primary_key=True),
    sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), primary_key=True),
    sa.Column("left", sa.Text, sa.ForeignKey("candidates.id"), nullable=False),
    sa.Column("leased_until", sa.Double, nullable=False),  # seconds since 1970, by the server's clock
    sa.Index("leases_by_annotator", "annotator_id"),
)

judgements = sa.Table(
    "judgements",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),  # the order of arrival
    sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), nullable=False),
    sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("left", sa.Text, sa.ForeignKey("candidates.id"), nullable=False),
    sa.Column("winner", sa.Text, sa.ForeignKey("candidates.id")),
    sa.Column("strength", sa.Integer),
    sa.Column("seconds", sa.Double),
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.UniqueConstraint("task_id", "annotator_id", name="one_judgement_each"),
    sa.Index("judgements_by_annotator", "annotator_id"),
)


def prompt_of(row: sa.Row[Any]) -> Prompt:
    """A row of `prompts` as a record."""
    return Prompt(id=row.id, messages=tuple(row.messages), references=tuple(row.references))


def candidate_of(row: sa.Row[Any]) -> Candidate:
    """A row of `candidates` as a record."""
    return Candidate(id=row.id, prompt_id=row.prompt_id, response=row.response, source=row.source)


def task_of(row: sa.Row[Any]) -> Task:
    """A row of `tasks` as a record."""
    return Task(id=row.id, prompt_id=row.prompt_id, a=row.a, b=row.b)


def annotator_of(row: sa.Row[Any]) -> Annotator:
    """A row of `annotators` as a record."""
    return Annotator(id=row.id, name=row.name, simulated=row.simulated)


def judgement_of(row: sa.Row[Any]) -> Judgement:
    """A row of `judgements` as a record."""
    fields = row._asdict()
    del fields["number"]
    return Judgement(**fields)
