"""Responses that annotators rewrote: the rewrite is preferred to what it rewrites."""

from collections.abc import Iterator

from foundation.files import Row
from labeling_ui.assignment.answer_validation import is_unchanged
from labeling_ui.data_model import Candidate, Judgement, Task
from labeling_ui.exchange.exports.messages import prompt_messages, reply_messages
from labeling_ui.exchange.exports.pair_row import latest_round
from labeling_ui.exchange.weighted_votes import VotedLabels


def rewrite_rows(labels: VotedLabels, task: Task) -> Iterator[Row]:
    """A rewrite of the better response is preferred to it, by the one who wrote it.

    A text that is another response of the task was rewritten by nobody. Where a reviewer decided, those rewrites count
    that are of the response that the decision calls the better one.
    """
    said = labels.judgements.get(task.id, ())
    if task.id in labels.overruled:
        better = _better(said[0], task)
        said = [each for each in labels.overruled[task.id] if _better(each, task) == better]
    for judgement in said:
        better, text = _better(judgement, task), judgement.answer.rewrite
        shown = (labels.candidates[each].response for each in task.candidates)
        if better is None or not text.strip() or any(is_unchanged(text, response) for response in shown):
            continue
        yield {
            "prompt": prompt_messages(labels, task.prompt_id),
            "chosen": reply_messages(text),
            "rejected": reply_messages(labels.candidates[better].response),
            "weight": round(labels.weight(task, judgement), 6),
            "p_chosen": 1.0,
            "p_tie": 0.0,
            "p_both_bad": 0.0,
            "posterior": 1.0,
            "origin": "rewrite",
            "ids": {"prompt": task.prompt_id, "chosen": Candidate(task.prompt_id, text).id, "rejected": better},
            "annotators": [judgement.annotator_id],
            "votes": [1.0],
            "chosen_left": [None],
            "round": latest_round(labels, better),
            "adjudicated": False,
            "simulated": labels.simulated[judgement.annotator_id],
        }


def _better(judgement: Judgement, task: Task) -> str | None:
    """The response that a rewrite is of: the one preferred, ranked first alone, or rated."""
    answer = judgement.answer
    if answer.verdict == "skip":
        return None
    if answer.verdict == "ranked":
        return answer.ranking[0][0] if len(answer.ranking[0]) == 1 else None
    return task.candidates[0] if answer.verdict == "rated" else answer.winner
