"""Tickets: what was on the annotator's screen, signed by the server and handed back with the answer.

So an answer always goes to what was on the screen, and is never counted twice: the same ticket sent again is the same
judgement.
"""

import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from itsdangerous import BadSignature, URLSafeSerializer

from labeling_ui.data_model import Action, Annotator


class OutOfDate(Exception):
    """A ticket that this server did not issue to this annotator."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What was on the screen.

    `shown` has the candidate ids in the order shown; `issued_at` is in seconds since 1970; `key` names the judgement.
    """

    task_id: str
    annotator_id: str
    shown: tuple[str, ...]
    key: str
    issued_at: float
    action: Action


class TicketSigner:
    """Tickets as strings that only the server can make."""

    def __init__(self, secret: str) -> None:
        self._serializer = URLSafeSerializer(secret, salt="ticket")

    def issue(self, task_id: str, annotator_id: str, shown: Sequence[str], action: Action = "answer") -> str:
        """A fresh ticket for what is about to be shown."""
        ticket = Ticket(task_id, annotator_id, tuple(shown), secrets.token_hex(8), time.time(), action)
        return str(self._serializer.dumps(asdict(ticket)))

    def read(self, signed: str, annotator: Annotator) -> Ticket:
        """The ticket; `OutOfDate` if it was not issued to this annotator by this server."""
        try:
            fields = self._serializer.loads(signed)
            ticket = Ticket(**{**fields, "shown": tuple(fields["shown"])})
        except (BadSignature, TypeError, KeyError) as error:
            raise OutOfDate("This page is out of date. Reload it and answer again.") from error
        if ticket.annotator_id != annotator.id:
            raise OutOfDate("This was shown to someone else. Reload the page and answer again.")
        return ticket

    def first_issue(self, ticket: Ticket, earlier: str | None) -> float:
        """When the card was first shown, in seconds since 1970: `earlier` counts if it is theirs, for this task."""
        try:
            first = Ticket(**self._serializer.loads(earlier or ""))
        except (BadSignature, TypeError):
            return ticket.issued_at
        same = (first.task_id, first.annotator_id) == (ticket.task_id, ticket.annotator_id)
        return min(first.issued_at, ticket.issued_at) if same else ticket.issued_at
