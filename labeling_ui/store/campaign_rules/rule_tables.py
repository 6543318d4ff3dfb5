"""The tables by which a campaign runs itself.

`annotator_skills` holds the accuracy that was last estimated of each annotator in a campaign (`quality/skill.py`).
`qualifications` has a row for each attempt to qualify, `qualification_tasks` for each task that was dealt in one.
`campaign_people` are those who may work on a campaign; one without any is for everybody. `notices` has a row for each
time that a campaign was done, stalled or agreed less, until that was over; `notice_deliveries` for each address of it.
"""

import sqlalchemy as sa

from labeling_ui.store.account_tables import metadata

annotator_skills = sa.Table(
    "annotator_skills",
    metadata,
    sa.Column("campaign", sa.Text, sa.ForeignKey("campaigns.name"), primary_key=True),
    sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), primary_key=True),
    sa.Column("accuracy", sa.Double, nullable=False),
)

qualifications = sa.Table(
    "qualifications",
    metadata,
    sa.Column("campaign", sa.Text, sa.ForeignKey("campaigns.name"), primary_key=True),
    sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("begun_at", sa.Text, nullable=False),
    sa.Column("ended_at", sa.Text),
    sa.Column("outcome", sa.Text),  # passed or failed; waived: let through; reset: counts no more
)

qualification_tasks = sa.Table(
    "qualification_tasks",
    metadata,
    sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), primary_key=True),
    sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), primary_key=True),
    sa.Column("campaign", sa.Text, sa.ForeignKey("campaigns.name"), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("right", sa.Double),  # agreement with the known answer, from 0 to 1, once it was answered
    sa.Index("qualification_by_person", "annotator_id", "campaign", "attempt"),
)

campaign_people = sa.Table(
    "campaign_people",
    metadata,
    sa.Column("campaign", sa.Text, sa.ForeignKey("campaigns.name"), primary_key=True),
    sa.Column("annotator_id", sa.Text, sa.ForeignKey("annotators.id"), primary_key=True),
)

notices = sa.Table(
    "notices",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("campaign", sa.Text, sa.ForeignKey("campaigns.name"), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),  # done, stalled or agreement
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("began_at", sa.Double, nullable=False),  # this and all times below: seconds since 1970
    sa.Column("ended_at", sa.Double),
)

notice_deliveries = sa.Table(
    "notice_deliveries",
    metadata,
    sa.Column("notice", sa.Integer, sa.ForeignKey("notices.number"), primary_key=True),
    sa.Column("address", sa.Text, primary_key=True),  # a keyed hash of it
    sa.Column("named", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due_at", sa.Double, nullable=False),  # of the next attempt, which may be made by any server
    sa.Column("sent_at", sa.Double),
    sa.Column("problem", sa.Text, nullable=False),
)
