"""What the admin page shows of the judgements: figures read from the store, and the HTML and drawings made of them.

Left out on purpose: who may see it and the page's controls (`admin_page.py`), and how the figures are computed
(`quality/`).
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from labeling_ui.data_model import Candidate
from labeling_ui.people.forgetting import Text, marked
from labeling_ui.quality.agreement import Agreement
from labeling_ui.quality.assessment import AnnotatorQuality, QualityReport, assess
from labeling_ui.quality.intervals import Share
from labeling_ui.quality.label_reader import read_labels
from labeling_ui.quality.self_identification import names_its_model
from labeling_ui.store.store import Counts, Store
from labeling_ui.web.templates import render

FRESH_SECONDS = 15.0
MOST_SHOWN = 50
MOST_DRAWN = 30
_SURE = 0.05


@dataclass(frozen=True, slots=True)
class CampaignProgress:
    """How far a campaign is: judgements that are in, and judgements that its tasks still lack."""

    name: str
    kind: str
    tasks: int
    done: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Flagged:
    """A response that says which model wrote it, in these words."""

    says: str
    candidate: Candidate
    prompt: str


@dataclass(frozen=True, slots=True)
class Written:
    """Something that an annotator wrote: a reason to skip, a rationale, or a rewrite."""

    name: str
    verdict: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Overview:
    """All that is shown of one campaign, or of all."""

    counts: Counts
    campaigns: Sequence[CampaignProgress]
    report: QualityReport
    flagged: Sequence[Flagged]
    written: Sequence[Written]
    marked: Sequence[Text]


@dataclass(frozen=True, slots=True)
class Mark:
    """One figure of a drawing, on a scale from 0 to 1: a point with its interval, or an arrow from one to another."""

    kind: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """Rows of marks, one row an annotator; `middle` is drawn as a line."""

    title: str
    text: str
    middle: float
    rows: list[tuple[str, list[Mark]]] = field(default_factory=list)


class OverviewCache:
    """Overviews of a store, each made at most every `FRESH_SECONDS`, however many look."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._turn = threading.Lock()
        self._made: dict[str | None, tuple[float, Overview]] = {}

    def __call__(self, campaign: str | None = None) -> Overview:
        """The overview of one campaign, or of all."""
        with self._turn:
            at, made = self._made.get(campaign, (0.0, None))
            if made is None or self._clock() - at > FRESH_SECONDS:
                made = read_overview(self._store, campaign)
                self._made[campaign] = (self._clock(), made)
            return made


def read_overview(store: Store, campaign: str | None = None) -> Overview:
    """Read the store and work out the figures; `UserError` if there is no such campaign."""
    labels = read_labels(store, campaign)
    learned = {task.id: task for task in labels.tasks.values() if task.gold is None and task.repeat_of is None}
    tasks = Counter(task.campaign for task in learned.values())
    done = Counter(learned[each.task_id].campaign for each in labels.judgements if each.task_id in learned)
    names = {annotator.id: annotator.name for annotator in labels.annotators}
    return Overview(
        counts=store.counts(),
        campaigns=[
            CampaignProgress(one.name, one.kind, tasks[one.name], done[one.name], store.waiting(one.name))
            for one in labels.campaigns.values()
            if campaign in (None, one.name)
        ],
        report=assess(labels, campaign),
        flagged=_flagged(store, {candidate for task in labels.tasks.values() for candidate in task.candidates}),
        written=[
            Written(names[each.annotator_id], each.answer.verdict, kind, text)
            for each in reversed(labels.judgements)
            for kind, text in (
                ("reason", each.answer.reason),
                ("rationale", each.answer.rationale),
                ("rewrite", each.answer.rewrite),
            )
            if text
        ][:MOST_SHOWN],
        marked=marked(store.database),
    )


def _flagged(store: Store, shown: set[str]) -> list[Flagged]:
    found = [
        (says, candidate)
        for candidate in store.candidates()
        if candidate.id in shown and (says := names_its_model(candidate.response))
    ]
    prompts = {prompt.id: prompt.messages[-1]["content"] for prompt in store.prompts()} if found else {}
    return [Flagged(says, candidate, prompts[candidate.prompt_id]) for says, candidate in found]


def quality_html(overview: Overview) -> str:
    """Progress, agreement, annotators, and drawings of them."""
    annotators = overview.report.annotators
    return render(
        "quality.html",
        overview=overview,
        reading=reading,
        notices={each.annotator.id: notices(each) for each in annotators},
        drawings=[drawing for drawing in drawings(annotators) if drawing.rows],
        most_drawn=MOST_DRAWN,
    )


def flagged_html(overview: Overview) -> str:
    """Responses that name their model, texts that may name somebody who was forgotten, and what annotators wrote."""
    return render("flagged.html", overview=overview, most=MOST_SHOWN)


def reading(agreement: Agreement) -> str:
    """An alpha in words, by Krippendorff's own thresholds (2004): .800 to rely on, .667 for tentative conclusions."""
    if agreement.alpha is None or agreement.low is None:
        return "nothing to compare yet: no task has two different judges, or all said the same"
    if agreement.low >= 0.8:
        return "reliable"
    if agreement.alpha >= 0.8:
        return "reliable, but not yet for sure"
    if agreement.alpha >= 0.667:
        return "fit for tentative conclusions"
    return "low: look at the instructions, and at the tasks that divide people"


def notices(quality: AnnotatorQuality) -> list[str]:
    """What to look at in one annotator's figures. In a campaign where all are as good as one another, chance causes any
    notice at all in one of twenty at most (see `AnnotatorQuality.doubts`).
    """
    words = {
        "side": f"favours the {'left' if (quality.left.value or 0.0) > 0.5 else 'right'}",
        "fast": "often too fast to have read it",
        "worse": "getting worse",
        "guessing": "hardly better than guessing",
    }
    return [words[doubt] for doubt, p_value in quality.doubts.items() if p_value < _SURE]


def drawings(annotators: Sequence[AnnotatorQuality]) -> list[Drawing]:
    """Accuracy, side and drift of those who judged the most."""
    busiest = sorted(annotators, key=lambda each: -each.judgements)[:MOST_DRAWN]
    accuracy = Drawing(
        "Accuracy",
        "Filled: estimated from what the others chose. Hollow: agreement with known answers. The line is guessing.",
        0.5,
    )
    side = Drawing("Share of answers for the left", "Off the middle line: not every answer was read.", 0.5)
    drift = Drawing(
        "Drift", "How often the others agree: from the first half of one's answers to the second (the dot).", 0.5
    )
    for each in busiest:
        name = each.annotator.name
        marks = []
        if each.skill is not None:
            marks.append(Mark("estimate", each.skill.accuracy, each.skill.low, each.skill.high))
        marks += _point("known", each.gold)
        if marks:
            accuracy.rows.append((name, marks))
        if each.left.value is not None:
            side.rows.append((name, _point("estimate", each.left)))
        if each.drift is not None:
            arrow = Mark("arrow", each.drift.late, each.drift.early, each.drift.late)
            drift.rows.append((name, [arrow]))
    return [accuracy, side, drift]


def _point(kind: str, share: Share) -> list[Mark]:
    if share.value is None or share.low is None or share.high is None:
        return []
    return [Mark(kind, share.value, share.low, share.high)]
