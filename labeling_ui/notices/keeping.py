"""What was told, and to whom: each notice once, whichever server finds its cause, and after a crash as well.

A notice lasts as long as its cause: while it does, the same is not told again. A delivery is taken by whoever puts off
its next attempt, in one transaction; so no two servers send it, and one that is killed meanwhile leaves it to be sent
later. Each function works in the transaction that it is given; times are seconds since 1970.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import sqlalchemy as sa

from labeling_ui.store.campaign_rules.rule_tables import notice_deliveries, notices

Kind = Literal["done", "stalled", "agreement"]
PAUSES = (60.0, 300.0, 1800.0, 7200.0, 7200.0)
"""Seconds after each attempt until the next; after the last, a delivery is given up."""
_TITLES: Mapping[Kind, str] = {
    "done": 'The campaign "{}" is done',
    "stalled": 'The campaign "{}" stalls',
    "agreement": 'Agreement in the campaign "{}" has fallen',
}


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notice to send to an address, known by the hash of it."""

    notice: int
    address: str
    named: str
    attempts: int
    kind: Kind
    campaign: str
    text: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """How a delivery stands: "sent", "waiting" for another attempt, or "given up"; `problem` of the last attempt."""

    named: str
    state: Literal["sent", "waiting", "given up"]
    attempts: int
    problem: str


@dataclass(frozen=True, slots=True)
class Notice:
    """What was told, and when its cause began; `over` says that it is no longer so."""

    campaign: str
    kind: Kind
    text: str
    began_at: float
    over: bool
    deliveries: Sequence[Delivered]

    @property
    def title(self) -> str:
        """What has happened, in a few words."""
        return title(self.kind, self.campaign)

    @property
    def began(self) -> str:
        """When, in UTC."""
        return datetime.fromtimestamp(self.began_at, UTC).isoformat(sep=" ", timespec="minutes")[:16]


def title(kind: Kind, campaign: str) -> str:
    """What has happened in a campaign, in a few words."""
    return _TITLES[kind].format(campaign)


def lasting(connection: sa.Connection) -> set[tuple[str, Kind]]:
    """What is told already and still so: campaigns and kinds."""
    now = sa.select(notices.c.campaign, notices.c.kind).where(notices.c.ended_at.is_(None))
    return {(row.campaign, row.kind) for row in connection.execute(now)}


def begin(
    connection: sa.Connection, campaign: str, kind: Kind, text: str, addresses: Mapping[str, str], now: float
) -> bool:
    """Have something told, unless it is; returns whether it is new. `addresses`: what each hash is called."""
    if (campaign, kind) in lasting(connection):
        return False
    number = connection.execute(sa.select(sa.func.coalesce(sa.func.max(notices.c.number), 0))).scalar_one() + 1
    row = {"number": number, "campaign": campaign, "kind": kind, "text": text, "began_at": now}
    connection.execute(sa.insert(notices), [row])
    each = {"notice": number, "attempts": 0, "due_at": now, "problem": ""}
    rows = [{**each, "address": key, "named": named} for key, named in addresses.items()]
    if rows:
        connection.execute(sa.insert(notice_deliveries), rows)
    return True


def end(connection: sa.Connection, campaign: str, kind: Kind, now: float) -> None:
    """What was told is not so any more: if it is again, that is news."""
    open_ = (notices.c.campaign == campaign) & (notices.c.kind == kind) & notices.c.ended_at.is_(None)
    connection.execute(sa.update(notices).where(open_).values(ended_at=now))


def take_due(connection: sa.Connection, addresses: Sequence[str], now: float) -> Delivery | None:
    """A delivery to one of the addresses whose time has come, put off for everybody else; None if there is none."""
    table = notice_deliveries.c
    due = sa.select(notice_deliveries, notices.c.kind, notices.c.campaign, notices.c.text)
    due = due.join(notices, notices.c.number == table.notice).where(_waits(), table.due_at <= now)
    due = due.where(table.address.in_(addresses)).order_by(table.notice, table.address).limit(1)
    row = connection.execute(due).first()
    if row is None:
        return None
    later = now + PAUSES[row.attempts]
    this = (table.notice == row.notice) & (table.address == row.address)
    connection.execute(sa.update(notice_deliveries).where(this).values(attempts=row.attempts + 1, due_at=later))
    return Delivery(row.notice, row.address, row.named, row.attempts + 1, row.kind, row.campaign, row.text)


def any_due(connection: sa.Connection, addresses: Sequence[str], now: float) -> bool:
    """Whether `take_due` would find anything; needs no writing transaction."""
    table = notice_deliveries.c
    due = sa.select(table.notice).where(_waits(), table.due_at <= now, table.address.in_(addresses)).limit(1)
    return connection.execute(due).first() is not None


def settle(connection: sa.Connection, notice: int, address: str, sent_at: float | None, problem: str = "") -> None:
    """Write down how an attempt ended; what was sent stays so."""
    table = notice_deliveries.c
    this = (table.notice == notice) & (table.address == address) & table.sent_at.is_(None)
    connection.execute(sa.update(notice_deliveries).where(this).values(sent_at=sent_at, problem=problem))


def latest(connection: sa.Connection, campaign: str | None = None, count: int = 10) -> list[Notice]:
    """The newest notices (of one campaign), the newest first."""
    wanted = sa.select(notices).order_by(notices.c.number.desc()).limit(count)
    rows = connection.execute(wanted if campaign is None else wanted.where(notices.c.campaign == campaign)).all()
    table = notice_deliveries.c
    of_these = sa.select(notice_deliveries).where(table.notice.in_([row.number for row in rows]))
    deliveries = connection.execute(of_these.order_by(table.named)).all()
    return [
        Notice(
            row.campaign, row.kind, row.text, row.began_at, row.ended_at is not None,
            [_delivered(each) for each in deliveries if each.notice == row.number],
        )
        for row in rows
    ]  # fmt: skip


def _waits() -> sa.ColumnElement[bool]:
    return notice_deliveries.c.sent_at.is_(None) & (notice_deliveries.c.attempts < len(PAUSES))


def _delivered(row: "sa.Row[tuple[object, ...]]") -> Delivered:
    given_up = row.attempts >= len(PAUSES) and row.problem
    state: Literal["sent", "waiting", "given up"] = "given up" if given_up else "waiting"
    return Delivered(row.named, "sent" if row.sent_at is not None else state, row.attempts, row.problem)
