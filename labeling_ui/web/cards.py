"""What is on the annotator's screen, and what comes back from it.

A card is an assignment without names: it says nothing of which model wrote what. A signed ticket goes with it
(`card_tickets.py`). Answers name responses by position; ids stay with the server. Left out on purpose: HTTP (`api.py`),
and which answers are valid (`assignment/answer_validation.py`).
"""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from foundation.errors import UserError
from labeling_ui.data_model import Action, Answer, Assignment, Candidate, Judgement, Verdict
from labeling_ui.markdown.render import to_html
from labeling_ui.markdown.word_differences import marked, marked_html
from labeling_ui.store.campaign_rules.qualification import Feedback
from labeling_ui.store.campaign_rules.rules import CampaignRules
from labeling_ui.store.store import Store
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

    `ratings` has the value of every shown response for each aspect; null for an aspect that does not apply.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    verdict: Verdict
    winner: int | None = None
    strength: int | None = None
    ranking: list[list[int]] = []
    ratings: dict[Text, list[int] | None] = {}
    reason: Reason = ""
    rationale: Rationale = ""
    rewrite: Rewrite = ""

    def answer(self, shown: Sequence[str]) -> Answer:
        """The answer in candidate ids; `UserError` if it names a response that was not shown."""

        def at(position: int) -> str:
            if not 0 <= position < len(shown):
                raise UserError(f"the answer names response {position + 1}; only {len(shown)} were shown.")
            return shown[position]

        rated = {aspect: values for aspect, values in self.ratings.items() if values is not None}
        for aspect, values in rated.items():
            if len(values) != len(shown):
                raise UserError(f'"{aspect}" has {len(values)} ratings; {len(shown)} responses were shown.')
        return Answer(
            verdict=self.verdict,
            winner=None if self.winner is None else at(self.winner),
            strength=self.strength,
            ranking=tuple(tuple(at(position) for position in group) for group in self.ranking),
            ratings={aspect: dict(zip(shown, values, strict=True)) for aspect, values in rated.items()},
            not_applicable=tuple(aspect for aspect, values in self.ratings.items() if values is None),
            reason=self.reason.strip(),
            rationale=self.rationale.strip(),
            rewrite=self.rewrite.strip(),
        )


def card(assignment: Assignment, signer: TicketSigner, action: Action = "answer") -> dict[str, Any]:
    """What the page shows of an assignment, with a fresh ticket; nothing in it says which model wrote what.

    `rendered` holds safe HTML of the same texts, None where a text is shown as it was written.
    """
    campaign, shown = assignment.campaign, [candidate.id for candidate in assignment.shown]
    return {
        "id": assignment.task.id,
        "ticket": signer.issue(assignment.task.id, assignment.annotator_id, shown, action),
        "action": action,
        "kind": campaign.kind,
        "instructions": campaign.instructions,
        "prompt": list(assignment.prompt.messages),
        "responses": [candidate.response for candidate in assignment.shown],
        "cut_off": _cut_off(assignment.shown),
        "rendered": {
            "instructions": to_html(campaign.instructions),
            "prompt": [to_html(message["content"]) for message in assignment.prompt.messages],
            "responses": [to_html(candidate.response) for candidate in assignment.shown],
        },
        "aspects": list(campaign.aspects),
        "definitions": [campaign.definitions.get(aspect, "") for aspect in campaign.aspects],
        "not_applicable": campaign.not_applicable,
        "scale": campaign.scale,
        "rationale": campaign.rationale,
        "rewrite": campaign.rewrite,
        "idle_seconds": campaign.idle_seconds,
        "break_minutes": campaign.break_minutes,
        "previous": answer_on_screen(assignment.previous, shown) if assignment.previous else None,
    }


def place_in_round(assignment: Assignment, rules: CampaignRules) -> dict[str, int] | None:
    """Which task of a qualification round this is; None for any other task."""
    campaign = assignment.campaign
    if not campaign.qualification or assignment.task.gold is None:
        return None
    for standing in rules.unqualified(assignment.annotator_id):
        if standing.campaign == campaign.name and standing.state == "open":
            return {"number": standing.answered + 1, "of": campaign.qualification}
    return None


def feedback(judgement: Judgement, told: Feedback | None) -> dict[str, Any] | None:
    """What is shown after an answer of a qualification round; None after any other.

    `right` is the agreement with the known answer, `known`, from 0 to 1; `state` is where this leaves the person:
    "open" in the same attempt, "passed", "new" before another attempt, or "failed". `rendered` is the reason in HTML.
    """
    if told is None:
        return None
    known = Judgement(judgement.task_id, judgement.annotator_id, judgement.shown, told.known)
    standing = told.standing
    return {
        "right": told.right, "known": answer_on_screen(known, judgement.shown), "state": standing.state,
        "rendered": to_html(told.known.rationale), "answered": standing.answered,
        "correct": round(standing.right, 1), "left": standing.left,
    }  # fmt: skip


def notices(annotator_id: str, store: Store, rules: CampaignRules) -> list[dict[str, str]]:
    """Why nothing is asked of a person, where others are asked: the word for each reason, and what it is about."""
    found = [
        {"word": f"empty.{standing.state}", "campaign": standing.campaign}
        for standing in rules.unqualified(annotator_id)
        if standing.state in ("failed", "new") and store.waiting(standing.campaign)
    ]
    closed = rules.closed(annotator_id)
    asked = [each for each in store.campaigns() if not each.is_verdict]
    if asked and [why for _, why in closed] == ["people"] * len(asked):  # of campaigns for others nobody is told
        found.append({"word": "empty.people"})
    for campaign, why in closed:
        if why == "people" or not store.waiting(campaign.name):
            continue
        ended = campaign.deadline.isoformat(sep=" ", timespec="minutes") if campaign.deadline else ""
        found.append({"word": f"empty.{why}", "campaign": campaign.name, "quota": str(campaign.quota), "ended": ended})
    return found


def _cut_off(shown: Sequence[Candidate]) -> list[bool]:
    """Which responses stopped at the token limit; none where it is not known of all, which would tell them apart."""
    ends = [candidate.source.get("finish_reason") for candidate in shown]
    return [end == "length" and {*ends} <= {"stop", "length"} for end in ends]


def differences(one: str, other: str) -> dict[str, Any]:
    """Both texts as safe HTML with what only one of them says in `<mark>`.

    `rendered` is None where they are shown as they were written.
    """
    first, second = to_html(one), to_html(other)
    rendered = None if first is None or second is None else [marked_html(first, second), marked_html(second, first)]
    return {"raw": [str(marked(one, other)), str(marked(other, one))], "rendered": rendered}


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
    if answer.not_applicable:
        found["ratings"] = {**found.get("ratings", {}), **dict.fromkeys(answer.not_applicable)}
    texts = {"reason": answer.reason, "rationale": answer.rationale, "rewrite": answer.rewrite}
    return found | {name: text for name, text in texts.items() if text}
