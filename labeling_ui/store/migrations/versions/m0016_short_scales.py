"""On a scale of less than five points, ratings that are one point apart are two opinions: tasks say so anew."""

from collections import defaultdict

import sqlalchemy as sa
from alembic import op

from labeling_ui.assignment.answer_comparison import disagreement
from labeling_ui.data_model import Answer, Task

revision = "0016"
down_revision = "0015"

_SHORT = 5
_CHUNK = 5000


def upgrade() -> None:
    """Measure again how far the answers to such tasks are from one another."""
    connection = op.get_bind()
    log = sa.text("SELECT campaign, version, settings FROM campaign_settings").columns(
        sa.column("campaign"), sa.column("version"), sa.column("settings", sa.JSON)
    )
    short = {
        (row.campaign, row.version): row.settings["scale"]
        for row in connection.execute(log)
        if row.settings.get("kind") == "rating" and row.settings.get("scale", _SHORT) < _SHORT
    }
    if not short:
        return
    said = sa.text(
        "SELECT tasks.id, tasks.prompt_id, tasks.candidates, tasks.campaign, tasks.version, events.answer"
        " FROM judgements JOIN events ON events.number = judgements.event JOIN tasks ON tasks.id = judgements.task_id"
        " ORDER BY judgements.annotator_id"
    ).columns(*map(sa.column, ("id", "prompt_id")), sa.column("candidates", sa.JSON),
              *map(sa.column, ("campaign", "version")), sa.column("answer", sa.JSON))  # fmt: skip
    tasks: dict[str, tuple[Task, int]] = {}
    answers: dict[str, list[Answer]] = defaultdict(list)
    for row in connection.execute(said):
        if (row.campaign, row.version) in short:
            tasks[row.id] = Task(row.prompt_id, tuple(row.candidates), id=row.id), short[row.campaign, row.version]
            answers[row.id].append(Answer(**row.answer))
    rows = [{"task": key, "apart": disagreement(answers[key], *of)} for key, of in tasks.items()]
    change = sa.text("UPDATE tasks SET disagreement = :apart WHERE id = :task")
    for start in range(0, len(rows), _CHUNK):
        connection.execute(change, rows[start : start + _CHUNK])
