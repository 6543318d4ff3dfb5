"""Which answers are valid: whether a judgement is a possible answer to its task, and a task one of its campaign."""

import math
from collections.abc import Mapping, Sequence

from foundation.errors import UserError
from labeling_ui.campaign import Campaign, Kind
from labeling_ui.data_model import STRENGTHS, Answer, Judgement, Task, Verdict

LONGEST_TEXT = 20_000
"""Characters of a reason, a rationale or a rewrite."""

_VERDICTS: Mapping[Kind, tuple[Verdict, ...]] = {
    "pairwise": ("preferred", "tie", "both_bad", "skip"),
    "ranking": ("ranked", "skip"),
    "rating": ("rated", "skip"),
}


def check_task(task: Task, campaign: Campaign) -> None:
    """Raise `UserError` if the campaign cannot show the task, or its gold answer is not valid."""
    expected = {"pairwise": "2", "ranking": "2 to 9", "rating": "1"}[campaign.kind]
    low, high = {"pairwise": (2, 2), "ranking": (2, 9), "rating": (1, 1)}[campaign.kind]
    if not low <= len(task.candidates) <= high or len(set(task.candidates)) < len(task.candidates):
        raise UserError(
            f'the task {task.id} has {len(set(task.candidates))} different candidates; the campaign "{campaign.name}" '
            f"({campaign.kind}) shows {expected}."
        )
    if task.gold is not None:
        check_judgement(Judgement(task.id, "", task.candidates, task.gold), task, campaign)


def check_judgement(
    judgement: Judgement, task: Task, campaign: Campaign, shown: Sequence[str] | None = None, on_page: bool = False
) -> None:
    """Raise `UserError` if the judgement is not a valid answer to the task.

    `shown` is the order of its lease. A live pair has none: `on_page` says that its author was asked all the same.
    """
    answer, where = judgement.answer, f"the judgement of task {task.id}"
    if answer.verdict not in _VERDICTS[campaign.kind]:
        allowed = ", ".join(_VERDICTS[campaign.kind])
        raise UserError(f'{where} says "{answer.verdict}": expected one of {allowed}.')
    if tuple(sorted(judgement.shown)) != task.candidates:
        raise UserError(f"{where} does not show the task's candidates, each once.")
    if shown is not None and tuple(shown) != judgement.shown:
        raise UserError(f"{where} has the responses in another order than they were shown. Reload the page.")
    seconds = judgement.seconds
    if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
        raise UserError(f"{where} took {seconds} seconds: expected a number from 0 on.")
    _check_preference(answer, task, where)
    _check_ranking(answer, task, where)
    _check_ratings(answer, task, campaign, where)
    for text in (answer.reason, answer.rationale, answer.rewrite):
        check_text(text, where)
        if len(text) > LONGEST_TEXT:
            raise UserError(f"{where} holds a text of {len(text)} characters: up to {LONGEST_TEXT} can be kept.")
    # What was imported was not asked for a reason.
    was_asked = on_page or shown is not None
    needs_reason = campaign.rationale == "required" and was_asked and answer.verdict != "skip"
    if needs_reason and not answer.rationale.strip():
        raise UserError(f"{where} gives no rationale: this campaign asks for one.")


def check_text(text: str, where: str) -> None:
    """Raise `UserError` if a text holds characters that some database cannot store."""
    if any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in text):
        raise UserError(f"{where} holds a character that cannot be stored (NUL, or half of a surrogate pair).")


def is_unchanged(rewrite: str, response: str) -> bool:
    """Whether a rewrite is the response itself; browsers write every line break in one way, whatever it was."""
    return rewrite.strip().splitlines() == response.strip().splitlines()


def _check_preference(answer: Answer, task: Task, where: str) -> None:
    if (answer.winner is not None) != (answer.verdict == "preferred"):
        raise UserError(f'{where} says "{answer.verdict}", but its winner is {answer.winner}.')
    if answer.winner is not None and answer.winner not in task.candidates:
        raise UserError(f'{where} prefers "{answer.winner}", which is not one of its candidates.')
    strength = answer.strength
    if strength is not None and (answer.winner is None or type(strength) is not int or strength not in STRENGTHS):
        raise UserError(f"{where} has strength {strength!r}: only a preference has one, and it is 1, 2 or 3.")


def _check_ranking(answer: Answer, task: Task, where: str) -> None:
    ranked = [candidate for group in answer.ranking for candidate in group]
    if bool(ranked) != (answer.verdict == "ranked"):
        raise UserError(f'{where} says "{answer.verdict}" and has a ranking of {len(ranked)} responses.')
    if not ranked:
        return
    if len(set(ranked)) < len(ranked) or not set(ranked) <= set(task.candidates) or not all(answer.ranking):
        raise UserError(f"{where} ranks a response twice, or one that it did not show, or has an empty place.")
    if len(ranked) < 2:
        raise UserError(f"{where} ranks a single response: rank two or more, or skip.")


def _check_ratings(answer: Answer, task: Task, campaign: Campaign, where: str) -> None:
    if bool(answer.ratings or answer.not_applicable) != (answer.verdict == "rated"):
        raise UserError(f'{where} says "{answer.verdict}" and rates {len(answer.ratings)} aspects.')
    if answer.not_applicable and not campaign.not_applicable:
        raise UserError(
            f'{where} says that an aspect does not apply; the campaign "{campaign.name}" does not offer that.'
        )
    for aspect in answer.not_applicable:
        if aspect not in campaign.aspects or aspect in answer.ratings or answer.not_applicable.count(aspect) > 1:
            raise UserError(
                f'{where} says that "{aspect}" does not apply: it is no aspect, is rated, or is named twice.'
            )
    for aspect, given in answer.ratings.items():
        if aspect not in campaign.aspects:
            raise UserError(f'{where} rates "{aspect}": the aspects are {", ".join(campaign.aspects)}.')
        if not given or not set(given) <= set(task.candidates):
            raise UserError(f'{where} rates "{aspect}" of no response, or of one that it did not show.')
        for rating in given.values():
            if type(rating) is not int or not 1 <= rating <= campaign.scale:
                raise UserError(f'{where} rates "{aspect}" as {rating!r}: expected 1 to {campaign.scale}.')
