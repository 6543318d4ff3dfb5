"""What is on the annotator's screen, and what comes back from it.

A card is an assignment without names: it says nothing of which model wrote what. A signed ticket goes with it
(`card_tickets.py`). Answers name responses by position; ids stay with the server. Left out on purpose: HTTP (`api.py`),
and which answers are valid (`assignment/answer_validation.py`).
"""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from foundation.errors import UserError
from labeling_ui.data_model import Action, Answer, Assignment, Judgement, Verdict
from labeling_ui.web.card_tickets import TicketSigner


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


class GivenAnswer(BaseModel):
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
        """The answer in candidate ids; `UserError` if it names a response that was not shown."""

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


def card(assignment: Assignment, signer: TicketSigner, action: Action = "answer") -> dict[str, Any]:
    """What the page shows of an assignment, with a fresh ticket; nothing in it says which model wrote what."""
    campaign, shown = assignment.campaign, [candidate.id for candidate in assignment.shown]
    return {
        "id": assignment.task.id,
        "ticket": signer.issue(assignment.task.id, assignment.annotator_id, shown, action),
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
        "previous": answer_on_screen(assignment.previous, shown) if assignment.previous else None,
    }


def answer_on_screen(judgement: Judgement, shown: Sequence[str]) -> dict[str, Any]:
    """An answer in positions on the screen: the inverse of `GivenAnswer.answer`."""
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
