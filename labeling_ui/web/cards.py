"""What is on the annotator's screen, and what comes back from it.

A card is an assignment without names: it says nothing of which model wrote what. With it goes a ticket, signed by
the server and handed back with the answer, so that an answer always goes to what was on the screen, and is never
counted twice: the same ticket sent again is the same judgement. Answers name responses by position; ids stay with
the server. Left out on purpose: HTTP (`api.py`), and what counts as an answer to which task (`assignment.py`).
"""

import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from itsdangerous import BadSignature, URLSafeSerializer
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from foundation.errors import UserError
from labeling_ui.records import Action, Annotator, Answer, Assignment, Judgement, Verdict


class OutOfDate(Exception):
    """A ticket that this server did not issue to this annotator."""


def _storable(text: str) -> str:
    """Databases take no NUL and no half of a surrogate pair."""
    if "\0" in text:
        raise ValueError("must not contain NUL characters")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("is not valid Unicode") from error
    return text


Text = Annotated[str, AfterValidator(_storable)]
Reason = Annotated[Text, Field(max_length=1000)]
Rationale = Annotated[Text, Field(max_length=4000)]
Rewrite = Annotated[Text, Field(max_length=20_000)]


class Given(BaseModel):
    """An answer as the page gives it: as `Answer`, with positions on the screen (from 0) in place of ids.

    `ratings` has the value of every shown response for each aspect.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    verdict: Verdict
    winner: int | None = None
    strength: int | None = None
    ranking: list[list[int]] = []
    ratings: dict[Text, list[int]] = {}
    reason: Reason = ""
    rationale: Rationale = ""
    rewrite: Rewrite = ""

    def answer(self, shown: Sequence[str]) -> Answer:
        """The answer in candidate ids; `UserError` where it names a response that was not shown."""

        def at(position: int) -> str:
            if not 0 <= position < len(shown):
                raise UserError(f"the answer names response {position + 1}; only {len(shown)} were shown.")
            return shown[position]

        for aspect, values in self.ratings.items():
            if len(values) != len(shown):
                raise UserError(f'"{aspect}" has {len(values)} ratings; {len(shown)} responses were shown.')
        return Answer(
            verdict=self.verdict,
            winner=None if self.winner is None else at(self.winner),
            strength=self.strength,
            ranking=tuple(tuple(at(position) for position in group) for group in self.ranking),
            ratings={aspect: dict(zip(shown, values, strict=True)) for aspect, values in self.ratings.items()},
            reason=self.reason.strip(),
            rationale=self.rationale.strip(),
            rewrite=self.rewrite.strip(),
        )


@dataclass(frozen=True, slots=True)
class Ticket:
    """What was on the screen, signed by the server and handed back with the answer.

    `shown` has the candidate ids in the order shown; `issued_at` is in seconds since 1970; `key` names the judgement.
    """

    task_id: str
    annotator_id: str
    shown: tuple[str, ...]
    key: str
    issued_at: float
    action: Action


class Seal:
    """Tickets as strings that only the server can make."""

    def __init__(self, secret: str) -> None:
        self._serializer = URLSafeSerializer(secret, salt="ticket")

    def issue(self, task_id: str, annotator_id: str, shown: Sequence[str], action: Action = "answer") -> str:
        """A fresh ticket for what is about to be shown."""
        ticket = Ticket(task_id, annotator_id, tuple(shown), secrets.token_hex(8), time.time(), action)
        return str(self._serializer.dumps(asdict(ticket)))

    def open(self, sealed: str, annotator: Annotator) -> Ticket:
        """The ticket; `OutOfDate` where it was not issued to this annotator by this server."""
        try:
            fields = self._serializer.loads(sealed)
            ticket = Ticket(**{**fields, "shown": tuple(fields["shown"])})
        except (BadSignature, TypeError, KeyError) as error:
            raise OutOfDate("This page is out of date. Reload it and answer again.") from error
        if ticket.annotator_id != annotator.id:
            raise OutOfDate("This was shown to someone else. Reload the page and answer again.")
        return ticket


def card(assignment: Assignment, seal: Seal, action: Action = "answer") -> dict[str, Any]:
    """What the page shows of an assignment, with a fresh ticket; nothing in it says which model wrote what."""
    campaign, shown = assignment.campaign, [candidate.id for candidate in assignment.shown]
    return {
        "id": assignment.task.id,
        "ticket": seal.issue(assignment.task.id, assignment.annotator_id, shown, action),
        "action": action,
        "kind": campaign.kind,
        "instructions": campaign.instructions,
        "prompt": list(assignment.prompt.messages),
        "responses": [candidate.response for candidate in assignment.shown],
        "aspects": list(campaign.aspects),
        "scale": campaign.scale,
        "rationale": campaign.rationale,
        "rewrite": campaign.rewrite,
        "idle_seconds": campaign.idle_seconds,
        "break_minutes": campaign.break_minutes,
        "previous": given(assignment.previous, shown) if assignment.previous else None,
    }


def given(judgement: Judgement, shown: Sequence[str]) -> dict[str, Any]:
    """An answer in positions on the screen: the inverse of `Given.answer`."""
    answer, at = judgement.answer, {candidate: position for position, candidate in enumerate(shown)}
    found: dict[str, Any] = {"verdict": answer.verdict}
    if answer.winner is not None:
        found |= {"winner": at[answer.winner], "strength": answer.strength}
    if answer.ranking:
        found["ranking"] = [[at[candidate] for candidate in group] for group in answer.ranking]
    if answer.ratings:
        found["ratings"] = {a: [values[candidate] for candidate in shown] for a, values in answer.ratings.items()}
    texts = {"reason": answer.reason, "rationale": answer.rationale, "rewrite": answer.rewrite}
    return found | {name: text for name, text in texts.items() if text}
