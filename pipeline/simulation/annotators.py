"""Simulated annotators, to try the loop where no people are at hand; what they like is in `guidelines.py`.

They answer through the same store calls as a person's app does, and are marked as simulated from the
moment they are made. No figure drawn from their answers is a human one.
"""

import math
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.console import Console

from foundation.errors import UserError
from foundation.files import content_id
from labeling_ui.data_model import STRENGTHS, Answer, Assignment, Judgement
from labeling_ui.store.store import Store
from pipeline.config.config import Config
from pipeline.runs.folder import Run
from pipeline.runs.label_store import label_store
from pipeline.simulation.guidelines import BEST, BOTH_BAD, WORST, CandidateScores, SimulatedPreference
from pipeline.terminal.progress import progress

if TYPE_CHECKING:
    from backbone.adapters import SharedBase

Scores = Callable[[Assignment], Sequence[float]]
"""How much each response shown is liked, by a score that all annotators share."""

TIE = 0.3
"""A noisy difference within this many logits is none."""
STRONGER = (1.5, 3.5)
"""Noisy differences, in logits, from which a preference has strength 2 and 3."""


@dataclass(frozen=True)
class SimulatedAnnotator:
    """Answers by the score h, with errors: P(left) = sigmoid(skill * (h_left - h_right) + left_bias).

    Without a bias, an annotator thus errs on a pair that differs by d with probability sigmoid(-skill * d). `skill` is
    in logits for each unit of h (0 is a coin), `left_bias` in logits. A noisy difference near 0 is a tie, or
    both are bad if neither is of use; the larger it is, the stronger the preference.
    Rankings follow skill * h with Gumbel noise (Plackett-Luce); ratings divide the range of h evenly, the same for
    every aspect.
    """

    name: str
    skill: float
    left_bias: float = 0.0

    def judge(self, assignment: Assignment, scores: Sequence[float], seed: int) -> Judgement:
        """The answer to one task, whose responses have these scores: the same for the same seed, whenever asked."""
        kind = assignment.campaign.kind
        said = {"pairwise": self._compare, "ranking": self._rank, "rating": self._rate}[kind](assignment, scores, seed)
        if assignment.campaign.rationale == "required":
            said = replace(said, rationale="simulated")
        key = content_id("simulated", seed, assignment.annotator_id, assignment.task.id)
        return assignment.judgement(said, key=key)

    def _compare(self, assignment: Assignment, scores: Sequence[float], seed: int) -> Answer:
        left, right = assignment.shown
        h_left, h_right = scores
        # The noise belongs to the responses, not to the sides: without a bias, the order shown changes nothing.
        noise = _logistic(seed, self.name, assignment.task.id) * (1 if left.id == assignment.task.candidates[0] else -1)
        difference = self.skill * (h_left - h_right) + self.left_bias + noise
        if abs(difference) < TIE:
            return Answer("both_bad" if max(h_left, h_right) < BOTH_BAD else "tie")
        strength = STRENGTHS[sum(abs(difference) >= bound for bound in STRONGER)]
        return Answer("preferred", left.id if difference > 0 else right.id, strength)

    def _rank(self, assignment: Assignment, scores: Sequence[float], seed: int) -> Answer:
        seen = {
            one.id: self.skill * h + _gumbel(seed, self.name, assignment.task.id, one.id)
            for one, h in zip(assignment.shown, scores, strict=True)
        }
        return Answer("ranked", ranking=tuple((one,) for one in sorted(seen, key=lambda one: -seen[one])))

    def _rate(self, assignment: Assignment, scores: Sequence[float], seed: int) -> Answer:
        ratings = {}
        for one, h in zip(assignment.shown, scores, strict=True):
            noise = _logistic(seed, self.name, assignment.task.id, one.id) / self.skill if self.skill else 0.0
            share = (min(BEST, max(WORST, h + noise)) - WORST) / (BEST - WORST)
            ratings[one.id] = 1 + round(share * (assignment.campaign.scale - 1))
        return Answer("rated", ratings=dict.fromkeys(assignment.campaign.aspects, ratings))


def default_annotators() -> tuple[SimulatedAnnotator, ...]:
    """Four annotators from careful to careless; one of them leans to the left."""
    return (
        SimulatedAnnotator("simulated-careful", skill=6.0),
        SimulatedAnnotator("simulated-steady", skill=4.0),
        SimulatedAnnotator("simulated-left-leaning", skill=4.0, left_bias=1.0),
        SimulatedAnnotator("simulated-hasty", skill=1.5),
    )


def check_overlap(overlap: int, max_overlap: int | None = None) -> None:
    """Refuse more judges per task than there are simulated annotators."""
    there = len(default_annotators())
    for name, judges in (("label.overlap", overlap), ("label.max_overlap", max_overlap or 0)):
        if judges > there:
            raise UserError(
                f"{name} is {judges}, but there are {there} simulated annotators, and each judges a task once: set "
                f"it to {there} or less."
            )


def answer_tasks(run: Run, config: Config, console: Console) -> int:
    """Let the default annotators answer all that waits in the run's label store; returns how many answers were new."""

    def load() -> "SharedBase":
        from backbone.exactness import load_shared_base

        return load_shared_base(config.model, config.dtype, config.device, config.template, config.quantization)

    with label_store(run, config) as store:
        left = sum(store.waiting(each.name) for each in store.campaigns())
    with label_store(run, config) as store, progress(console, "simulate", max(left, 1)) as advance:
        scores = CandidateScores(SimulatedPreference(load), store.candidates())
        # Repeats come on top of what waits.
        return simulate(store, default_annotators(), scores, config.seed, lambda made: advance(int(made <= left)))


def simulate(
    store: Store,
    annotators: Sequence[SimulatedAnnotator],
    scores: Scores,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> int:
    """Let the annotators answer until no task is left for them; returns how many answers were new.

    `progress` is called after each answer with the number of answers given so far in this call. Who has
    answered least goes next, so the labels are shared evenly and a run that was killed goes on where it was.
    """
    from labeling_ui.quality.skill_keeping import SkillKeeper  # here: it brings scipy with it

    keeper, before = SkillKeeper(store, small=sys.maxsize), 0  # this process holds nobody up
    accounts = {annotator: store.annotator(annotator.name, simulated=True).id for annotator in annotators}
    answered = {annotator: store.progress(account).done for annotator, account in accounts.items()}
    new, finished = 0, dict[SimulatedAnnotator, int]()
    while answered:
        annotator = min(answered, key=lambda each: answered[each])
        assignment = store.next_assignment(accounts[annotator])
        if assignment is None:
            finished[annotator] = answered.pop(annotator)
            if not answered and new > before:  # what others said since may have left a vote in doubt
                keeper.keep(at_once=True)
                answered, finished, before = finished, {}, new
            continue
        new += store.record(annotator.judge(assignment, scores(assignment), seed)) == "taken"
        answered[annotator] += 1
        keeper.keep()
        if progress is not None:
            progress(new)
    return new


def _gumbel(*parts: object) -> float:
    """A draw from the standard Gumbel distribution that depends on nothing but `parts`."""
    return -math.log(-math.log(random.Random(content_id(*parts)).uniform(1e-9, 1 - 1e-9)))


def _logistic(*parts: object) -> float:
    """A draw from the standard logistic distribution that depends on nothing but `parts`."""
    uniform = random.Random(content_id(*parts)).uniform(1e-9, 1 - 1e-9)
    return math.log(uniform / (1 - uniform))
