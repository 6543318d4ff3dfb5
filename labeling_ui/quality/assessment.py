"""How far the judgements can be trusted: agreement between annotators, and the quality of each one's work.

Reads the store and says what is counted; the measures themselves are pure functions in `agreement.py`, `skill.py` and
`intervals.py`. Annotators are weighted by their skill, and not banned. Left out on purpose: whoever only rates has no
skill (a rating chooses between no two responses), and tasks are not told apart by difficulty.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from labeling_ui.assignment.answer_comparison import Category, Unit, categories, pair_orders, similarity
from labeling_ui.data_model import Annotator, Judgement
from labeling_ui.quality.agreement import Agreement, Kappa, kappas, krippendorff
from labeling_ui.quality.doubts import Doubt, corrected, doubts_of
from labeling_ui.quality.guessing import guessing, margins
from labeling_ui.quality.intervals import Share, Trend, share, trend
from labeling_ui.quality.label_reader import Labels, read_labels
from labeling_ui.quality.skill import Choice, Skill, estimate, skill_weights
from labeling_ui.store.store import Store


@dataclass(frozen=True, slots=True)
class AnnotatorQuality:
    """One annotator's figures.

    - `judgements`: their number, gold tasks and repeats included
    - `left`: share of decisive answers to pairs that went to the left
    - `gold`: agreement with known answers; `repeats`: with oneself on the same task shown again (both as in
      `answer_comparison.similarity`)
    - `skill`: accuracy estimated from the others' choices and gold answers; None if neither speaks
    - `weight`: what a vote counts, 1 on average
    - `median_seconds`; `hasty`: share of timed answers below the campaign's `shortest_seconds`
    - `drift`: trend of the share of answers that the others and gold answers bear out, in the order of answering
    - `doubts`: p values that there is no cause to ask (`doubts.py`), corrected for all annotators of the report
    """

    annotator: Annotator
    judgements: int
    left: Share
    gold: Share
    repeats: Share
    skill: Skill | None
    weight: float
    median_seconds: float | None
    hasty: Share
    drift: Trend | None
    doubts: Mapping[Doubt, float]


@dataclass(frozen=True, slots=True)
class QualityReport:
    """`agreement` by scale: "winner", "strength", "ranking", or a rated aspect with its scale: "helpful (1 to 7)".

    So answers of another kind or on another scale are never taken together, though they are of one campaign. Gold tasks
    and repeats are left out. `kappas` of the winner, or of the order of two responses when ranking.
    """

    campaign: str | None
    agreement: dict[str, Agreement]
    kappas: list[Kappa]
    annotators: list[AnnotatorQuality]

    @property
    def headline(self) -> Agreement | None:
        """Agreement on the scale on which most answers can be compared; None if nothing was said."""
        return self.agreement[self.scale] if self.scale else None

    @property
    def scale(self) -> str | None:
        """The scale on which most answers can be compared; None if nothing was said."""
        return max(self.agreement, key=lambda scale: self.agreement[scale].judgements, default=None)


def report(store: Store, campaign: str | None = None, simulated: bool | None = None) -> QualityReport:
    """All figures of one campaign or of all, by all annotators or the simulated or the human ones alone."""
    return assess(read_labels(store, campaign, simulated), campaign)


def agreement(store: Store, simulated: bool | None = None) -> Agreement:
    """Agreement on the scale on which most answers can be compared."""
    said = said_by_scale(read_labels(store, simulated=simulated))
    shared = {scale: sum(len(given) for given in units.values() if len(given) > 1) for scale, units in said.items()}
    scale = max(shared, key=shared.__getitem__, default="winner")
    return alpha_of(scale, said.get(scale, {}))


def annotators(store: Store) -> list[AnnotatorQuality]:
    """The figures of every annotator who judged anything, by name."""
    return assess_annotators(read_labels(store))


def vote_weights(labels: Labels) -> dict[str, float]:
    """What each annotator's vote counts, by id: 1 on average, and 1 if nothing is known of their skill."""
    return _weights(labels, _quick_skills(labels))


def accuracies(labels: Labels) -> dict[str, float]:
    """How often each annotator is right, by id, as far as the others or gold answers speak of them."""
    return {name: skill.accuracy for name, skill in _quick_skills(labels).items()}


def assess(labels: Labels, campaign: str | None = None) -> QualityReport:
    """The report on plain records."""
    said = said_by_scale(labels)
    return QualityReport(
        campaign=campaign,
        agreement={scale: alpha_of(scale, units) for scale, units in said.items()},
        kappas=kappas(said.get("winner") or said.get("ranking") or {}),
        annotators=assess_annotators(labels),
    )


def assess_annotators(labels: Labels) -> list[AnnotatorQuality]:
    """The figures of each annotator who judged anything, in the order of `labels.annotators`."""
    given: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in labels.judgements:
        given[judgement.annotator_id].append(judgement)
    judges = [annotator for annotator in labels.annotators if annotator.id in given]
    skills, borne_out, guesses = _skills(labels)
    weighted = _weights(labels, skills)
    found = []
    tests: dict[str, dict[Doubt, float]] = {}
    for annotator in judges:
        own = given[annotator.id]
        timed = [(labels.seconds(each), labels.campaigns[labels.tasks[each.task_id].campaign]) for each in own]
        seconds = [time for time, _ in timed if time is not None]
        left = [judgement.side == "left" for judgement in own if judgement.side]
        hasty = [time < campaign.shortest_seconds for time, campaign in timed if time is not None]
        drift = trend(borne_out.get(annotator.id, []))
        tests[annotator.id] = doubts_of(left, hasty, drift, guesses.get(annotator.id))
        found.append(
            AnnotatorQuality(
                annotator=annotator,
                judgements=len(own),
                left=share(left),
                gold=share(_gold(own, labels)),
                repeats=share(_repeats(own, labels)),
                skill=skills.get(annotator.id),
                weight=weighted[annotator.id],
                median_seconds=statistics.median(seconds) if seconds else None,
                hasty=share(hasty),
                drift=drift,
                doubts={},
            )
        )
    doubts = corrected(tests)
    return [replace(each, doubts=doubts[each.annotator.id]) for each in found]


def said_by_scale(labels: Labels) -> dict[str, dict[Unit, dict[str, Category]]]:
    """What each annotator said of each unit, by scale; without gold tasks and repeats.

    The simulated say it of a unit of their own: nobody is compared with them.
    """
    said: dict[str, dict[Unit, dict[str, Category]]] = {}
    programs = _groups(labels)[1]
    for judgement in labels.judgements:
        task = labels.tasks[judgement.task_id]
        if task.gold is None and task.repeat_of is None:
            for scale, unit, category in categories(judgement.answer, task, labels.campaign_of(task)):
                of = (*unit, "simulated") if judgement.annotator_id in programs else unit
                said.setdefault(scale, {}).setdefault(of, {})[judgement.annotator_id] = category
    if not any(category for given in said.get("strength", {}).values() for category in given.values()):
        said.pop("strength", None)  # ties alone: nobody was asked how strongly
    return said


def alpha_of(scale: str, units: Mapping[Unit, Mapping[str, Category]], confidence: float = 0.95) -> Agreement:
    """Alpha on a scale: nominal for winners and orders, ordinal for strengths and points."""
    return krippendorff(units, "nominal" if scale in ("winner", "ranking") else "ordinal", confidence)


def _skills(labels: Labels) -> tuple[dict[str, Skill], dict[str, list[bool]], dict[str, float]]:
    """By annotator: skill; whether the others and gold answers bear out each answer that they are divided on, in order;
    and the p value of guessing.

    People and the simulated are apart: neither says anything of the other.
    """
    known = _known(labels)
    skills: dict[str, Skill] = {}
    guesses: dict[str, float] = {}
    borne_out: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for group in _groups(labels):
        choices = [choice for choice in _choices(labels, known) if choice.annotator in group]
        skills |= estimate(choices, known)
        guesses |= guessing(choices, known)
        for choice, margin in zip(choices, margins(choices, known), strict=True):
            borne_out[choice.annotator][choice.unit[0]] += margin
    hits = {name: [said > 0 for said in own.values() if said != 0] for name, own in borne_out.items()}
    return skills, hits, guesses


def _quick_skills(labels: Labels) -> dict[str, Skill]:
    """Without intervals, which take most of the time."""
    known = _known(labels)
    choices = list(_choices(labels, known))
    skills: dict[str, Skill] = {}
    for group in _groups(labels):
        skills |= estimate([choice for choice in choices if choice.annotator in group], known, intervals=False)
    return skills


def _known(labels: Labels) -> dict[Unit, bool]:
    """Of which two responses the first is known to be better, or worse."""
    return {
        unit: order > 0
        for task in labels.tasks.values()
        if task.gold is not None
        for unit, order in pair_orders(task.gold, task).items()
        if order != 0
    }


def _groups(labels: Labels) -> tuple[dict[str, None], dict[str, None]]:
    """The ids of people, and of the simulated."""
    ids = [{each.id: None for each in labels.annotators if each.simulated == of} for of in (False, True)]
    return ids[0], ids[1]


def _choices(labels: Labels, known: Mapping[Unit, bool]) -> Iterator[Choice]:
    """What each annotator decided; of a task with a known answer, where that says which of two responses is better."""
    for judgement in labels.judgements:
        task = labels.tasks[judgement.task_id]
        if task.repeat_of is None:
            orders = pair_orders(judgement.answer, task).items()
            decided = {unit: order for unit, order in orders if order != 0 and (task.gold is None or unit in known)}
            # n responses make n (n - 1) / 2 pairs, of which n - 1 follow from no others.
            share_of_each = 2 / max(2, len({response for _, *both in decided for response in both}))
            for unit, order in decided.items():
                yield Choice(judgement.annotator_id, unit, order > 0, share_of_each)


def _weights(labels: Labels, skills: Mapping[str, Skill]) -> dict[str, float]:
    counted = dict.fromkeys((annotator.id for annotator in labels.annotators), 1.0)
    for group in _groups(labels):
        counted |= skill_weights({name: skills[name] for name in group if name in skills})
    return counted


def _gold(own: Iterable[Judgement], labels: Labels) -> list[float]:
    compared = []
    for judgement in own:
        task = labels.tasks[judgement.task_id]
        if task.gold is not None and task.repeat_of is None:
            compared.append(similarity(judgement.answer, task.gold, task, labels.campaign_of(task).scale))
    return [agreed for agreed in compared if agreed is not None]


def _repeats(own: Sequence[Judgement], labels: Labels) -> list[float]:
    first = {judgement.task_id: judgement.answer for judgement in own}
    compared = []
    for judgement in own:
        task = labels.tasks[judgement.task_id]
        if task.repeat_of in first:
            again, scale = judgement.answer, labels.campaign_of(task).scale
            compared.append(similarity(first[task.repeat_of], again, task, scale))
    return [agreed for agreed in compared if agreed is not None]
