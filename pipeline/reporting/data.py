"""What a report is given: plain values, each with what it means. What is drawn of them is in `report.py`."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from foundation.settings import Settings


class Rate(Settings):
    """A share of 1 with its 95% interval, out of `n`. `simulated`: judged by the simulated annotators' preference."""

    name: str
    value: float
    low: float
    high: float
    n: int
    simulated: bool = False


class AnnotatorFigures(Settings):
    """One annotator: number of answers, share of decisive answers that chose left with its test against one half,
    agreement with known answers, skill (estimated accuracy) with its interval, and the weight of each vote.
    """

    name: str
    simulated: bool
    judgements: int
    left_share: float | None = None
    left_p_value: float | None = None
    gold: float | None = None
    skill: float | None = None
    skill_low: float | None = None
    skill_high: float | None = None
    weight: float = 1.0


class LabelFigures(Settings):
    """The content of the store. `alpha` is Krippendorff's; `pairs` is the number of preferences.

    `further` answers train nothing: those to known answers and repeats, which measure annotators, and to comparisons of
    a policy. `instructions` are what annotators of the first campaign were shown; `formatting` says whether rendering
    changes what wins.
    """

    prompts: int
    tasks: int
    judgements: int
    simulated_judgements: int
    by_verdict: Mapping[str, int]
    further: int = 0
    pairs: int | None = None
    alpha: float | None = None
    alpha_low: float | None = None
    alpha_high: float | None = None
    annotators: tuple[AnnotatorFigures, ...] = ()
    label_set_hash: str = ""
    instructions: str = ""
    formatting: str = ""


class RewardFigures(Settings):
    """The reward model and two baselines on held-out pairs; `reliability`: bins `(confidence, share right, pairs)`.

    `head_accuracy` is that of a head on the frozen base, on `head_n` labels, each judged by a fit on others.
    """

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    n: int
    longer_wins: float
    bag_of_words: float
    length_controlled_accuracy: float | None = None
    ece: float | None = None
    ece_after: float | None = None
    temperature: float | None = None
    error_most_uncertain: float | None = None
    error_least_uncertain: float | None = None
    head_accuracy: float | None = None
    head_low: float | None = None
    head_high: float | None = None
    head_n: int | None = None
    reliability: tuple[tuple[float, float, int], ...] = ()
    reliability_after: tuple[tuple[float, float, int], ...] = ()


class Comparison(Settings):
    """One held-out prompt with both responses and their scores by the first judge (`None`: not scored)."""

    prompt: str
    base: str
    policy: str
    base_score: float | None = None
    policy_score: float | None = None


class Measure(Settings):
    """A property of the responses, for base and policy."""

    name: str
    base: float | None
    policy: float | None


class EvaluationFigures(Settings):
    """Policy against base on held-out prompts, by automatic judges. KL in nats per response, with its 95% interval.

    `pairs`: every prompt with both responses, the policy's greatest gain by the first judge first, of which `shown` at
    either end, and as many drawn at random, are shown at once.
    """

    win_rates: tuple[Rate, ...] = Field(min_length=1)
    mean_kl: float | None = None
    kl_interval: tuple[float, float] | None = None
    measures: tuple[Measure, ...] = ()
    pairs: tuple[Comparison, ...] = ()
    shown: int = 8


class Tried(Settings):
    """A policy of the round that was evaluated as the `present` one was, named by what it was tuned with.

    KL in nats per response; words and distinct-2 as ratios to the base's.
    """

    name: str
    rate: Rate
    present: bool
    mean_kl: float | None = None
    words_ratio: float | None = None
    distinct2_ratio: float | None = None


class VerdictFigures(Settings):
    """Candidate against champion, blind: who judged, what they said, and the win rate with its confidence sequence.

    A tie and "both bad" count one half. `late` answers came after the decision and are not counted; `judges` are
    automatic judges of the same pairs.
    """

    by: str
    opponent: str
    judgements: int
    prompts: int
    wins: int
    ties: int
    both_bad: int
    losses: int
    win_rate: float
    low: float
    high: float
    late: int = 0
    judges: tuple[Rate, ...] = ()

    @property
    def said(self) -> str:
        """All of it in one line."""
        return (
            f"win rate {self.win_rate:.0%}, 95% interval {self.low:.0%} to {self.high:.0%}; {self.judgements} "
            f"judgements of {self.prompts} prompts: {self.wins} won, {self.ties} alike, {self.both_bad} both bad, "
            f"{self.losses} lost"
        )


class Evidence(Settings):
    """One thing that speaks for or against shipping, with its size."""

    name: str
    said: str


class Shipping(Settings):
    """Whether to ship the policy, why in one sentence, and the evidence."""

    outcome: Literal["ship", "do not ship", "not decided"]
    sentence: str
    evidence: tuple[Evidence, ...] = ()


class RoundFigures(Settings):
    """One round of the loop, as far as it got. `win_rate` is that of `judge`, an automatic one; memory is in GB."""

    round: int
    judgements: int | None = None
    pairs: int | None = None
    reward_accuracy: float | None = None
    reward_low: float | None = None
    reward_high: float | None = None
    longer_wins: float | None = None
    bag_of_words: float | None = None
    win_rate: float | None = None
    win_rate_low: float | None = None
    win_rate_high: float | None = None
    mean_kl: float | None = None
    verdict: VerdictFigures | None = None
    decision: str = ""
    seconds: float | None = None
    memory: float | None = None


class StageRow(Settings):
    """One line of the manifest."""

    stage: str
    output: str
    seconds: float | None = None
    finished_at: str = ""
    sha256: str = ""


class AlarmFigures(Settings):
    """An alarm of the policy stage: the first and last step at which it was on, and what to do about it."""

    name: str
    first: int
    last: int
    figure: str
    advice: str


class SampledPrompt(Settings):
    """What the policy answered to one prompt while it was tuned: `(step, response)`, in order."""

    prompt: str
    responses: tuple[tuple[int, str], ...]


class ReportData(Settings):
    """Everything that the report shows; a section whose value is `None` or empty is shown as not run yet.

    `path`: the run's folder as a command names it. `told`: sentences to be read before the figures. `training`: one
    mapping per policy step with `step` and any of the columns that docs/metrics.md names for log.jsonl. `open_verdict`:
    how a verdict stands that people have begun to judge. `decisions`: who became champion, and why, the oldest first.
    `samples`: what the policy wrote while it was tuned. `settings`: the configuration, as YAML.
    """

    run: str
    path: str = "runs/NAME"
    model: str = ""
    created_at: str = ""
    rounds: tuple[RoundFigures, ...] = ()
    labels: LabelFigures | None = None
    reward: RewardFigures | None = None
    training: tuple[Mapping[str, float | None], ...] = ()
    alarms: tuple[AlarmFigures, ...] = ()
    evaluation: EvaluationFigures | None = None
    tried: tuple[Tried, ...] = ()
    told: tuple[str, ...] = ()
    shipping: Shipping | None = None
    verdict: VerdictFigures | None = None
    open_verdict: str = ""
    decisions: tuple[str, ...] = ()
    samples: tuple[SampledPrompt, ...] = ()
    settings: str = ""
    seed: int | None = None
    manifest: tuple[StageRow, ...] = ()
    adapter: str = ""
    load_snippet: str = ""
