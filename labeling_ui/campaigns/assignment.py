"""Pure rules of assignment: which task next for whom, in which order its responses are shown, what counts as an answer.

Choices and orders follow from hashes of the ids, so that they are the same after a restart and cannot be
steered. Leases and locks are the business of `leasing.py`.
"""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from foundation.errors import UserError
from labeling_ui.campaigns.campaign import Campaign, Kind
from labeling_ui.records import (
    STRENGTHS,
    Action,
    Answer,
    Assignment,
    Judgement,
    Task,
    Verdict,
)

REPEAT_DISTANCE = 5
"""So many of an annotator's own judgements lie between a task and its repetition, at least."""
LONGEST_TEXT = 20_000
"""Letters of a reason, a rationale or a rewrite."""

_VERDICTS: Mapping[Kind, tuple[Verdict, ...]] = {
    "pairwise": ("preferred", "tie", "both_bad", "skip"),
    "ranking": ("ranked", "skip"),
    "rating": ("rated", "skip"),
}

_MODELS = (
    r"(?:chat)?gpt(?:[- ]?\d[\w.]*)?|claude|gemini|bard|gemma|palm|llama|alpaca|vicuna|mi[sx]tral|qwen|tongyi|deepseek|"
    r"grok|smollm|phi-\d|falcon|bloom|copilot|kimi|chatglm|ernie|yi-\d+b|olmo|command r|通义千问|文心一言|豆包|智谱清言"
)
_MAKERS = (
    r"openai|anthropic|google(?: deepmind)?|deepmind|meta(?: ai)?|mistral ai|alibaba(?: cloud)?|microsoft|xai|"
    r"hugging ?face|baidu|moonshot(?: ai)?|deepseek|cohere|阿里巴巴|阿里云|百度|字节跳动|深度求索|月之暗面|谷歌|微软"
)
_SAYS_WHO = re.compile(
    rf"\b(?:i am|i['’]m|my name is|as an ai called)\s+(?:an?\s+|the\s+)?(?:ai\s+)?(?:assistant\s+)?(?:{_MODELS})\b"
    rf"|\b(?:trained|developed|created|made|built)\s+by\s+(?:{_MAKERS})\b"
    rf"|我(?:是|叫)\s*(?:{_MODELS})|由\s*(?:{_MAKERS})\s*(?:开发|训练|研发|创建)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task that an annotator may be given; `taken` counts its judgements and leases."""

    task_id: str
    taken: int = 0
    priority: float = 0.0


def order(task: Task, annotator_id: str) -> tuple[str, ...]:
    """The candidate ids as this annotator sees them: every order is as likely as any other."""
    return tuple(sorted(task.candidates, key=lambda candidate: _draw("shown", annotator_id, task.id, candidate)))


def mixed_in(campaign: Campaign, annotator_id: str, turn: int) -> Literal["gold", "repeat"] | None:
    """Whether the annotator's task number `turn` is one with a known answer, one of their own again, or neither."""
    drawn = _share("mixed in", annotator_id, str(turn))
    if drawn < campaign.gold_share:
        return "gold"
    return "repeat" if drawn < campaign.gold_share + campaign.repeat_share else None


def at_random(campaign: Campaign, annotator_id: str, turn: int) -> bool:
    """Whether the annotator's task number `turn` is chosen without a look at priorities."""
    return _share("at random", annotator_id, str(turn)) < campaign.random_share


def next_task(open_tasks: Iterable[OpenTask], annotator_id: str, by_priority: bool = True) -> str | None:
    """The most urgent task's id, the least taken's among equals; among those, everyone has an order of their own."""

    def rank(task: OpenTask) -> tuple[float, int, int]:
        return -task.priority if by_priority else 0.0, task.taken, _draw("order", annotator_id, task.task_id)

    first = min(open_tasks, key=rank, default=None)
    return first.task_id if first else None


def repeat(judged: Sequence[str], repeated: set[str], annotator_id: str) -> str | None:
    """Which of the annotator's own judged tasks to show again: `judged` runs from the newest to the oldest."""
    eligible = [task_id for task_id in judged[REPEAT_DISTANCE:] if task_id not in repeated]
    return min(eligible, key=lambda task_id: _draw("repeat", annotator_id, task_id), default=None)


def judgement_of(
    assignment: Assignment, answer: Answer, seconds: float | None = None, key: str = "", action: Action = "answer"
) -> Judgement:
    """The judgement that an answer to an assignment amounts to."""
    shown = tuple(candidate.id for candidate in assignment.shown)
    return Judgement(assignment.task.id, assignment.annotator_id, shown, answer, seconds, key=key, action=action)


def names_its_model(response: str) -> str | None:
    """The words by which a response says which model, or whose, wrote it; None where it does not.

    A flag for whoever looks after the campaign: it may have told the annotators what they must not know.
    """
    found = _SAYS_WHO.search(response)
    return " ".join(found.group().split()) if found else None


def check_task(task: Task, campaign: Campaign) -> None:
    """Raise `UserError` where the campaign could not show the task, or its gold answer is none."""
    expected = {"pairwise": "2", "ranking": "2 to 9", "rating": "1"}[campaign.kind]
    low, high = {"pairwise": (2, 2), "ranking": (2, 9), "rating": (1, 1)}[campaign.kind]
    if not low <= len(task.candidates) <= high or len(set(task.candidates)) < len(task.candidates):
        raise UserError(
            f'the task {task.id} has {len(set(task.candidates))} different candidates; the campaign "{campaign.name}" '
            f"({campaign.kind}) shows {expected}."
        )
    if task.gold is not None:
        check(Judgement(task.id, "", task.candidates, task.gold), task, campaign)


def check(judgement: Judgement, task: Task, campaign: Campaign, shown: Sequence[str] | None = None) -> None:
    """Raise `UserError` where the judgement is no possible answer to the task; `shown` is what its lease says."""
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
            raise UserError(f"{where} holds a text of {len(text)} letters: up to {LONGEST_TEXT} can be kept.")
    # What was imported was not asked for a reason.
    needs_reason = campaign.rationale == "required" and shown is not None and answer.verdict != "skip"
    if needs_reason and not answer.rationale.strip():
        raise UserError(f"{where} gives no rationale: this campaign asks for one.")


def check_text(text: str, where: str) -> None:
    """Raise `UserError` where a text holds what not every database can keep."""
    if any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in text):
        raise UserError(f"{where} holds a character that cannot be stored (NUL, or half of a surrogate pair).")


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
    if bool(answer.ratings) != (answer.verdict == "rated"):
        raise UserError(f'{where} says "{answer.verdict}" and rates {len(answer.ratings)} aspects.')
    for aspect, given in answer.ratings.items():
        if aspect not in campaign.aspects:
            raise UserError(f'{where} rates "{aspect}": the aspects are {", ".join(campaign.aspects)}.')
        if not given or not set(given) <= set(task.candidates):
            raise UserError(f'{where} rates "{aspect}" of no response, or of one that it did not show.')
        for rating in given.values():
            if type(rating) is not int or not 1 <= rating <= campaign.scale:
                raise UserError(f'{where} rates "{aspect}" as {rating!r}: expected 1 to {campaign.scale}.')


def _draw(*parts: str) -> int:
    return int.from_bytes(hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest(), "big")


def _share(*parts: str) -> float:
    return _draw(*parts) / 2**64
