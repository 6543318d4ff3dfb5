"""How far the judgements can be trusted: agreement between annotators, and each one's side bias.

Agreement is measured on which response won, never on the side it was shown on. A skip is a missing value;
"both bad" is kept apart from a tie. Skill, gold answers and drift over time are left out.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import evalica
import pandas as pd  # type: ignore[import-untyped]
from scipy.stats import binomtest

from rlhf_pipeline.labeling_ui.records import VERDICTS, Annotator, Judgement, Task
from rlhf_pipeline.labeling_ui.store import Store

_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Agreement:
    """Krippendorff's alpha (nominal) over the tasks that two annotators or more judged.

    1 is perfect agreement, 0 what chance gives, below 0 is worse than chance. `alpha` is None where no
    task was judged twice or everybody always gave the same answer; then there is nothing to measure.
    `low` and `high` bound the 95% interval (Krippendorff's bootstrap, 2006).
    """

    alpha: float | None
    low: float | None
    high: float | None
    tasks: int
    judgements: int


@dataclass(frozen=True, slots=True)
class AnnotatorQuality:
    """One annotator's figures.

    `left_share` is the share of decisive verdicts that went to the left, with its 95% Wilson interval, and
    `p_value` that of a two-sided binomial test against one half; all None without decisive verdicts.
    """

    annotator: Annotator
    judgements: int
    by_verdict: dict[str, int]
    decisive: int
    left: int
    left_share: float | None
    left_low: float | None
    left_high: float | None
    p_value: float | None
    median_seconds: float | None


def agreement(store: Store, simulated: bool | None = None) -> Agreement:
    """Agreement of all annotators, or of the simulated or the human ones alone."""
    counted = {a.id for a in store.annotators() if simulated is None or a.simulated == simulated}
    tasks = {task.id: task for task in store.tasks()}
    said: dict[str, dict[str, str]] = defaultdict(dict)
    for judgement in store.judgements():
        if judgement.annotator_id in counted and judgement.verdict != "skip":
            said[judgement.task_id][judgement.annotator_id] = _category(judgement, tasks[judgement.task_id])
    return krippendorff({task_id: answers for task_id, answers in said.items() if len(answers) > 1})


def krippendorff(said: dict[str, dict[str, str]]) -> Agreement:
    """Nominal alpha of `{unit: {observer: category}}`, where each unit has two observers or more."""
    judgements = sum(len(answers) for answers in said.values())
    if len({category for answers in said.values() for category in answers.values()}) < 2:
        return Agreement(None, None, None, len(said), judgements)
    ratings = pd.DataFrame({unit: pd.Series(said[unit], dtype=object) for unit in sorted(said)}).sort_index()
    found = evalica.alpha_bootstrap(ratings, n_resamples=_RESAMPLES, random_state=0)
    return Agreement(float(found.alpha), float(found.low), float(found.high), len(said), judgements)


def annotators(store: Store) -> list[AnnotatorQuality]:
    """The figures of every annotator who judged anything, by name."""
    given: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in store.judgements():
        given[judgement.annotator_id].append(judgement)
    return [_figures(annotator, given[annotator.id]) for annotator in store.annotators() if annotator.id in given]


def _figures(annotator: Annotator, judgements: Iterable[Judgement]) -> AnnotatorQuality:
    by_verdict = dict.fromkeys(VERDICTS, 0)
    seconds = []
    for judgement in judgements:
        by_verdict[judgement.verdict] += 1
        if judgement.seconds is not None:
            seconds.append(judgement.seconds)
    left = by_verdict["left"]
    decisive = left + by_verdict["right"]
    test = binomtest(left, decisive) if decisive else None
    interval = test.proportion_ci(method="wilson") if test else None
    return AnnotatorQuality(
        annotator=annotator,
        judgements=sum(by_verdict.values()),
        by_verdict={str(verdict): number for verdict, number in by_verdict.items()},
        decisive=decisive,
        left=left,
        left_share=left / decisive if decisive else None,
        left_low=float(interval.low) if interval else None,
        left_high=float(interval.high) if interval else None,
        p_value=float(test.pvalue) if test else None,
        median_seconds=statistics.median(seconds) if seconds else None,
    )


def _category(judgement: Judgement, task: Task) -> str:
    if judgement.winner is None:
        return judgement.verdict
    return "a" if judgement.winner == task.a else "b"
