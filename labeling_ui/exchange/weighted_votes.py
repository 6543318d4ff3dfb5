"""Judgements as weighted votes on two responses: what every export counts.

A vote counts its annotator's weight (`assessment.vote_weights`), which is 1 if nothing is known of anybody's skill.
One ranking counts as one vote: its pairs share its weight (Ouyang et al. 2022, eq. 1). Gold tasks and repeats are left
out: they are there to measure annotators.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Candidate, Judgement, Prompt, Task
from labeling_ui.quality.assessment import vote_weights
from labeling_ui.quality.label_reader import read_labels
from labeling_ui.store.store import Store

SAME = 1e-9  # sums of weights that differ by less are equal


@dataclass(frozen=True, slots=True)
class VotedLabels:
    """What the store holds of one campaign or of all, without gold tasks and repeats."""

    campaigns: Mapping[str, Campaign]
    prompts: Mapping[str, Prompt]
    candidates: Mapping[str, Candidate]
    tasks: Sequence[Task]
    asked: Sequence[str]  # ids of prompts that are not there for gold tasks alone
    judgements: Mapping[str, Sequence[Judgement]]
    weights: Mapping[tuple[str, str], float]  # by campaign and annotator
    simulated: Mapping[str, bool]

    def weight(self, task: Task, judgement: Judgement) -> float:
        """What a judgement of this task counts."""
        return self.weights.get((task.campaign, judgement.annotator_id), 1.0)


@dataclass(frozen=True, slots=True)
class Vote:
    """What one annotator said of two responses; no winner is a tie. `left` was shown on the left, if two were shown."""

    annotator_id: str
    winner: str | None
    weight: float
    strength: int | None = None
    left: str | None = None

    def on_left(self, candidate: str) -> bool | None:
        """Whether this response was shown on the left; None if that is not known."""
        return None if self.left is None else self.left == candidate


def read_votes(store: Store, campaign: str | None = None) -> VotedLabels:
    """Read one campaign, or all; `UserError` if there is none of that name."""
    labels = read_labels(store, campaign)
    ordinary = [task for task in labels.tasks.values() if task.gold is None and task.repeat_of is None]
    measuring = {task.prompt_id for task in labels.tasks.values()} - {task.prompt_id for task in ordinary}
    prompts = {prompt.id: prompt for prompt in store.prompts()}
    asked = prompts if campaign is None else {task.prompt_id for task in ordinary}
    judgements: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in labels.judgements:
        judgements[judgement.task_id].append(judgement)
    return VotedLabels(
        campaigns=labels.campaigns,
        prompts=prompts,
        candidates={candidate.id: candidate for candidate in store.candidates()},
        tasks=ordinary,
        asked=sorted(prompt_id for prompt_id in asked if prompt_id not in measuring),
        judgements=judgements,
        weights={
            (name, annotator_id): weight
            for name in labels.campaigns
            if campaign in (None, name)
            for annotator_id, weight in vote_weights(labels.of_campaign(name)).items()
        },
        simulated={annotator.id: annotator.simulated for annotator in labels.annotators},
    )


def votes_of(labels: VotedLabels, task: Task) -> dict[tuple[str, str], list[Vote]]:
    """By two of the task's candidates: the votes that compare them."""
    votes: dict[tuple[str, str], list[Vote]] = defaultdict(list)
    judgements = labels.judgements.get(task.id, ())
    said = Counter(judgement.answer.verdict for judgement in judgements)
    if said["both_bad"] > said["tie"] and not said["preferred"]:
        return {}
    for judgement in judgements:
        answer, weight = judgement.answer, labels.weight(task, judgement)
        if answer.verdict in ("preferred", "tie"):
            one, other = task.candidates
            left = judgement.shown[0] if len(judgement.shown) == 2 else None
            votes[one, other].append(Vote(judgement.annotator_id, answer.winner, weight, answer.strength, left))
        elif answer.verdict == "ranked":
            place = {candidate: group for group, equals in enumerate(answer.ranking) for candidate in equals}
            share = weight / math.comb(len(place), 2)
            for one, other in combinations(sorted(place), 2):
                winner = None if place[one] == place[other] else min(one, other, key=place.__getitem__)
                votes[one, other].append(Vote(judgement.annotator_id, winner, share))
    return votes


def majority(votes: Sequence[Vote], one: str, other: str) -> str | None:
    """The one of two responses that more weight prefers; None if it is the same."""
    for_one, for_other = (total(vote for vote in votes if vote.winner == each) for each in (one, other))
    if abs(for_one - for_other) < SAME:
        return None
    return one if for_one > for_other else other


def total(votes: Iterable[Vote]) -> float:
    """The sum of the votes' weights."""
    return math.fsum(vote.weight for vote in votes)
