"""An annotator as dealing and progress see them, read once in a transaction."""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from foundation.errors import UserError
from labeling_ui.data_model import REVIEWERS
from labeling_ui.store import tables
from labeling_ui.store.campaigns import Campaigns


@dataclass(frozen=True, slots=True)
class AtWork:
    """How many judgements of an annotator are in force, and how many tasks they hold.

    Whoever `reviews` is given what others could not judge. `people` are those of `limits.people_of`. `leases_ended`:
    leases of anybody have run out, or are longer than any should be.
    """

    annotator_id: str
    judged: int
    held: int
    reviews: bool
    leases_ended: bool
    people: Mapping[str, set[str]]


def at_work(
    connection: sa.Connection, annotator_id: str, campaigns: Campaigns, people: Mapping[str, set[str]], now: float
) -> AtWork:
    """The annotator now (in seconds since 1970); `UserError` if there is none of that id."""
    longest = max((each.lease_minutes * 60 for each in campaigns.settings.values()), default=0.0)
    row = connection.execute(_AT_WORK, {"who": annotator_id, "at": now, "latest": now + longest}).first()
    if row is None:
        raise UserError(f'there is no annotator "{annotator_id}" in this label store. Sign in again.')
    ended = row.ended is not None
    return AtWork(annotator_id, row.judged, row.held, row.role in REVIEWERS, ended, people)


def _number_of(table: sa.Table) -> sa.ScalarSelect[int]:
    return sa.select(sa.func.count()).where(table.c.annotator_id == sa.bindparam("who")).scalar_subquery()


_UNTIL = tables.leases.c.leased_until
_ENDED = (sa.bindparam("at") >= _UNTIL) | (sa.bindparam("latest") < _UNTIL)
_AT_WORK = sa.select(
    tables.annotators.c.role,
    _number_of(tables.judgements).label("judged"),
    _number_of(tables.leases).label("held"),
    sa.select(_UNTIL).where(_ENDED).limit(1).scalar_subquery().label("ended"),
).where(tables.annotators.c.id == sa.bindparam("who"))
