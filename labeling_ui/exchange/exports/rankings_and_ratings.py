"""Whole rankings and ratings, one row an annotator:

orders   {"prompt", "responses", "ranks", "weight", "annotator", ...}; rank 1 is the best
ratings  {"prompt", "response", "aspect", "score", "scale", "annotator", ...}; null: it does not apply
"""

from collections.abc import Mapping

from foundation.files import Row
from labeling_ui.data_model import Answer, Task
from labeling_ui.exchange.exports.messages import prompt_messages
from labeling_ui.exchange.weighted_votes import VotedLabels


def ranking_rows(labels: VotedLabels) -> list[Row]:
    """One row for each ranking that prefers anything."""
    return [
        {
            "prompt": prompt_messages(labels, task.prompt_id),
            "responses": [labels.candidates[each].response for group in judgement.answer.ranking for each in group],
            "ranks": [place for place, group in enumerate(judgement.answer.ranking, start=1) for _ in group],
            "weight": round(labels.weight(task, judgement), 6),
            "annotator": judgement.annotator_id,
            "ids": {
                "prompt": task.prompt_id,
                "responses": [each for group in judgement.answer.ranking for each in group],
            },
            "adjudicated": judgement.action == "adjudicate",
            "simulated": labels.simulated[judgement.annotator_id],
        }
        for task in labels.tasks
        for judgement in labels.judgements.get(task.id, ())
        if judgement.answer.verdict == "ranked" and len(judgement.answer.ranking) > 1
    ]


def rating_rows(labels: VotedLabels) -> list[Row]:
    """One row for each response, aspect and annotator."""
    return [
        {
            "prompt": prompt_messages(labels, task.prompt_id),
            "response": labels.candidates[candidate].response,
            "aspect": aspect,
            "score": score,
            "scale": labels.campaign_of(task).scale,
            "annotator": judgement.annotator_id,
            "weight": round(labels.weight(task, judgement), 6),
            "ids": {"prompt": task.prompt_id, "response": candidate},
            "adjudicated": judgement.action == "adjudicate",
            "simulated": labels.simulated[judgement.annotator_id],
        }
        for task in labels.tasks
        for judgement in labels.judgements.get(task.id, ())
        for aspect, given in _given(judgement.answer, task).items()
        for candidate, score in given.items()
    ]


def _given(answer: Answer, task: Task) -> Mapping[str, Mapping[str, int | None]]:
    """The ratings by aspect, None for each response to which an aspect does not apply."""
    return {**answer.ratings, **{aspect: dict.fromkeys(task.candidates) for aspect in answer.not_applicable}}
