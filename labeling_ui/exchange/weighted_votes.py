"""Judgements as weighted votes on two responses: what every export counts.

A vote counts its annotator's weight (`assessment.vote_weights`), which is 1 if nothing is known of anybody's skill.
One ranking counts as one vote: its pairs share its weight (Ouyang et al. 2022, eq. 1). Gold tasks and repeats are left
out: they are there to measure annotators.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Candidate, Judgement, Prompt, Task
from labeling_ui.quality.assessment import vote_weights
from labeling_ui.quality.label_reader import read_labels
from labeling_ui.store.review.adjudication import decisions
from labeling_ui.store.store import Store

SAME = 1e-9  # sums of weights that differ by less are equal
RIGHT = 0.8  # how often a vote of weight 1 is right: what is assumed of annotators of whom nothing is known
CLEAR = 2.0  # how many times as likely as anything else a decision is
TIE = "tie"
BOTH_BAD = "both_bad"


@dataclass(frozen=True, slots=True)
class VotedLabels:
    """What the store holds of one campaign, or of all but verdicts, without gold tasks and repeats."""

    versions: Mapping[tuple[str, int], Campaign]
    prompts: Mapping[str, Prompt]
    candidates: Mapping[str, Candidate]
    tasks: Sequence[Task]
    asked: Sequence[str]  # ids of prompts that are not there for gold, removed or a verdict's tasks alone
    judgements: Mapping[str, Sequence[Judgement]]  # of a task that a reviewer decided, their decision alone
    weights: Mapping[tuple[str, str], float]  # by campaign and annotator
    simulated: Mapping[str, bool]
    overruled: Mapping[str, Sequence[Judgement]] = field(default_factory=dict)  # what annotators said where one decided

    def campaign_of(self, task: Task) -> Campaign:
        """What annotators were asked of the task: a rating is on the scale that it was given on."""
        return self.versions[task.campaign, task.version]

    def weight(self, task: Task, judgement: Judgement) -> float:
        """What a judgement of this task counts; a reviewer's decision counts one."""
        if judgement.action == "adjudicate":
            return 1.0
        return self.weights.get((task.campaign, judgement.annotator_id), 1.0)


@dataclass(frozen=True, slots=True)
class Vote:
    """What one annotator said of two responses: the winner's id, `TIE` or `BOTH_BAD`.

    `weight` is what it counts, `whole` what the answer counts that it is a part of: a ranking says several things.
    `left` was shown on the left, if two were shown. `decides`: it is a reviewer's, and outweighs all others.
    """

    annotator_id: str
    said: str
    weight: float
    whole: float
    strength: int | None = None
    left: str | None = None
    decides: bool = False

    @property
    def winner(self) -> str | None:
        """The response that is preferred, if one is."""
        return None if self.said in (TIE, BOTH_BAD) else self.said

    def on_left(self, candidate: str) -> bool | None:
        """Whether this response was shown on the left; None if that is not known."""
        return None if self.left is None else self.left == candidate


@dataclass(frozen=True, slots=True)
class Decision:
    """What the votes on two responses come to: the likeliest of either winner's id, `TIE` and `BOTH_BAD`.

    `probability` is its posterior. `decided`: it is at least `CLEAR` times as likely as anything else, and more people
    said it than anything else.
    """

    said: str
    probability: float
    decided: bool


def decide(votes: Sequence[Vote], one: str, other: str) -> Decision:
    """The posterior of the votes (docs/maths.md): a vote of weight 1 is right with probability `RIGHT`.

    What a reviewer decided is certain.
    """
    final = next((vote.said for vote in votes if vote.decides), None)
    if final is not None:
        return Decision(final, 1.0, True)
    outcomes = (one, other, TIE, BOTH_BAD)
    people = Counter(vote.said for vote in votes)
    evidence = {
        each: math.log(RIGHT / (1 - RIGHT)) * math.fsum(vote.whole for vote in votes if vote.said == each)
        for each in outcomes
    }
    top = max(outcomes, key=lambda each: (evidence[each], people[each]))
    rest = [each for each in outcomes if each != top]
    odds = [math.exp(evidence[each] - evidence[top]) for each in rest]
    decided = all(people[top] > people[each] for each in rest) and max(odds) <= 1 / CLEAR
    return Decision(top, 1 / (1 + math.fsum(odds)), decided)


def read_votes(store: Store, campaign: str | None = None) -> VotedLabels:
    """Read one campaign, or all; `UserError` if there is none of that name."""
    labels = read_labels(store, campaign)
    ordinary = [task for task in labels.tasks.values() if task.gold is None and task.repeat_of is None]
    removed = {task.prompt_id for task in store.tasks() if task.state == "removed"}
    measuring = {task.prompt_id for task in labels.tasks.values()} | store.judged_prompts() | removed
    measuring -= {task.prompt_id for task in ordinary}
    prompts = {prompt.id: prompt for prompt in store.prompts()}
    asked = prompts if campaign is None else {task.prompt_id for task in ordinary}
    judgements: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in labels.judgements:
        judgements[judgement.task_id].append(judgement)
    with store.database.read() as connection:
        decided = {each.task_id: each for each in decisions(connection)}
    overruled = {task_id: judgements.get(task_id, []) for task_id in decided}
    judgements |= {task_id: [decision] for task_id, decision in decided.items()}
    return VotedLabels(
        versions=labels.versions,
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
        overruled=overruled,
    )


def votes_of(labels: VotedLabels, task: Task) -> dict[tuple[str, str], list[Vote]]:
    """By two of the task's candidates: the votes that compare them."""
    votes: dict[tuple[str, str], list[Vote]] = defaultdict(list)
    for judgement in labels.judgements.get(task.id, ()):
        answer, weight, who = judgement.answer, labels.weight(task, judgement), judgement.annotator_id
        decides = judgement.action == "adjudicate"
        if answer.verdict in ("preferred", TIE, BOTH_BAD):
            one, other = task.candidates
            left = judgement.shown[0] if len(judgement.shown) == 2 and not decides else None
            said = answer.winner or answer.verdict
            votes[one, other].append(Vote(who, said, weight, weight, answer.strength, left, decides))
        elif answer.verdict == "ranked":
            place = {candidate: group for group, equals in enumerate(answer.ranking) for candidate in equals}
            share = weight / math.comb(len(place), 2)
            for one, other in combinations(sorted(place), 2):
                said = TIE if place[one] == place[other] else min(one, other, key=place.__getitem__)
                votes[one, other].append(Vote(who, said, share, weight, decides=decides))
    return votes


def total(votes: Iterable[Vote]) -> float:
    """The sum of the votes' weights."""
    return math.fsum(vote.weight for vote in votes)
