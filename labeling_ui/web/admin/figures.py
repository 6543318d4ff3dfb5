"""What the admin page shows of the judgements: figures read from the store, and the HTML and drawings made of them.

Left out on purpose: who may see it and the page's controls (`page.py`), and how the figures are computed
(`quality/`).
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from labeling_ui.assignment.self_identification import names_its_model
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Candidate
from labeling_ui.notices.keeping import Notice
from labeling_ui.people.forgetting import Text, marked
from labeling_ui.quality import formatting
from labeling_ui.quality.agreement import Agreement
from labeling_ui.quality.assessment import AnnotatorQuality, QualityReport, assess
from labeling_ui.quality.formatting import FormattingBias
from labeling_ui.quality.intervals import Share
from labeling_ui.quality.label_reader import Labels, read_labels
from labeling_ui.quality.over_time import AgreementThen, Given, OverTime, over_time
from labeling_ui.store.campaign_rules.rules import CampaignRules, NamedStanding
from labeling_ui.store.store import Store
from labeling_ui.web.templates import render
from labeling_ui.web.translations import DEFAULT, words

MOST_SHOWN = 50
MOST_DRAWN = 30
MOST_CAMPAIGNS = 8
_SURE = 0.05
_Version = tuple[str, int]


@dataclass(frozen=True, slots=True)
class CampaignProgress:
    """How far a version of a campaign is: judgements that are in (by programs: `simulated`), and that its tasks lack.

    Nothing is asked any more in a version that is not `current`.
    """

    name: str
    version: int
    current: bool
    kind: str
    tasks: int
    done: int
    simulated: int
    waiting: int
    limits: str = ""


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

    campaigns: Sequence[CampaignProgress]
    report: QualityReport
    over_time: OverTime
    formatting: FormattingBias
    flagged: Sequence[Flagged]
    written: Sequence[Written]
    marked: Sequence[Text]
    qualifying: Sequence[NamedStanding] = ()


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


def read_overview(store: Store, campaign: str | None = None, now: datetime | None = None) -> Overview:
    """Read the store and work out the figures as of `now`; `UserError` if there is no such campaign."""
    labels = read_labels(store, campaign)
    names_of_verdicts = [each.name for each in labels.campaigns.values() if each.is_verdict and campaign is None]
    verdicts = [read_labels(store, name) for name in names_of_verdicts]
    counted = _Counted()
    for some in (labels, *verdicts):
        counted.add(some)
    campaigns = [
        each
        for name in labels.campaigns
        if campaign in (None, name)
        for each in _versions(store, labels, name, counted)
    ]
    report = assess(labels, campaign)
    waiting = sum(each.waiting for each in campaigns)
    candidates = store.candidates()
    names = {annotator.id: annotator.name for annotator in labels.annotators}
    return Overview(
        campaigns=campaigns,
        report=report,
        over_time=over_time(labels, waiting, now or datetime.now(UTC), report.scale, verdicts),
        formatting=formatting.formatting_bias(labels, {each.id: each.response for each in candidates}),
        flagged=_flagged(store, candidates, {one for task in labels.tasks.values() for one in task.candidates}),
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
        qualifying=CampaignRules(store.database).standings(campaign),
    )


@dataclass(frozen=True, slots=True)
class _Counted:
    """Tasks and judgements of each version of a campaign, without gold tasks and repeats."""

    tasks: Counter[_Version] = field(default_factory=Counter)
    done: Counter[_Version] = field(default_factory=Counter)
    simulated: Counter[_Version] = field(default_factory=Counter)

    def add(self, labels: Labels) -> None:
        """Count these as well."""
        asked = {
            task.id: (task.campaign, task.version)
            for task in labels.tasks.values()
            if task.gold is None and task.repeat_of is None
        }
        programs = {each.id for each in labels.annotators if each.simulated}
        given = [each for each in labels.judgements if each.task_id in asked]
        self.tasks.update(asked.values())
        self.done.update(asked[each.task_id] for each in given)
        self.simulated.update(asked[each.task_id] for each in given if each.annotator_id in programs)


def _versions(store: Store, labels: Labels, name: str, counted: _Counted) -> list[CampaignProgress]:
    """The versions of a campaign that have tasks; if none has, the current one."""
    now, any_asked = store.version(name), any(of == name for of, _ in counted.tasks)
    limits = _limits(labels.campaigns[name], CampaignRules(store.database).people().get(name))
    return [
        CampaignProgress(
            name, version, version == now, asked.kind, counted.tasks[name, version], counted.done[name, version],
            counted.simulated[name, version], store.waiting(name) if version == now else 0,
            limits if version == now else "",
        )
        for (of, version), asked in sorted(labels.versions.items())
        if of == name and (counted.tasks[name, version] or (version == now and not any_asked))
    ]  # fmt: skip


def _limits(campaign: Campaign, people: Sequence[str] | None) -> str:
    """Who may work on the campaign, how much, and until when, in words."""
    deadline = f"until {campaign.deadline.isoformat(sep=' ', timespec='minutes')}" if campaign.deadline else ""
    quota = f"{campaign.quota} answers a person" if campaign.quota else ""
    return "; ".join(filter(None, (deadline, quota, f"for {', '.join(people)}" if people else "")))


def _flagged(store: Store, candidates: Sequence[Candidate], shown: set[str]) -> list[Flagged]:
    found = [
        (says, candidate)
        for candidate in candidates
        if candidate.id in shown and (says := names_its_model(candidate.response))
    ]
    prompts = {prompt.id: prompt.messages[-1]["content"] for prompt in store.prompts()} if found else {}
    return [Flagged(says, candidate, prompts[candidate.prompt_id]) for says, candidate in found]


def quality_html(overview: Overview, at: str = "", seconds: float = 0.0, told: Sequence[Notice] = ()) -> str:
    """Progress, agreement, annotators, and drawings of them; `at` is when they were worked out, if that took long.

    `told` are the newest notices to whoever leads.
    """
    annotators = overview.report.annotators
    return render(
        "quality.html",
        overview=overview,
        told=told,
        at=at,
        seconds=seconds,
        reading=reading,
        notices={each.annotator.id: notices(each) for each in annotators},
        drawings=[drawing for drawing in drawings(annotators) if drawing.rows],
        most_drawn=MOST_DRAWN,
        most_campaigns=MOST_CAMPAIGNS,
        top_of=_top,
        formatting=formatting.WORDS,
        lowest=_lowest,
    )


def _top(given: Sequence[Given]) -> int:
    """Where an axis of answers ends: an even number that none exceeds."""
    most = max((each.people + each.simulated for each in given), default=0)
    step: int = 10 ** (len(str(most)) - 1)
    return max(2, step * min(part for part in (1, 2, 4, 6, 8, 10) if step * part >= most))


def _lowest(points: Sequence[AgreementThen]) -> float:
    """Where an axis of agreement begins: 0, or the tenth below the lowest interval."""
    lows = [each.agreement.low for each in points if each.agreement.low is not None]
    return min(0.0, math.floor(10 * min(lows, default=0.0)) / 10)


def flagged_html(overview: Overview) -> str:
    """Responses that name their model, texts that may name somebody who was forgotten, and what annotators wrote."""
    return render("flagged.html", overview=overview, most=MOST_SHOWN, w=words(DEFAULT, "tasks"))


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
