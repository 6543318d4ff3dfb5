"""One self-contained `report.html` per run: labels, reward model, policy training and evaluation.

The stages pass in plain values. This module computes only charts and sums, and the page says which stages have not run
yet. Names and texts are untrusted: the template escapes everything, and the page's Content-Security-Policy forbids
scripts and external resources.
"""

import math
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import Field

from foundation.files import write_text
from foundation.settings import Settings

_NO_PARTS = ("score_std", "score_spread")
_SHARE = (-0.03, 1.03)


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
    """The content of the store. `alpha` is Krippendorff's; `pairs` is the number of preferences."""

    prompts: int
    tasks: int
    judgements: int
    simulated_judgements: int
    by_verdict: Mapping[str, int]
    pairs: int | None = None
    alpha: float | None = None
    alpha_low: float | None = None
    alpha_high: float | None = None
    annotators: tuple[AnnotatorFigures, ...] = ()
    label_set_hash: str = ""


class RewardFigures(Settings):
    """The reward model and two baselines on held-out pairs; `reliability`: bins `(confidence, share right, pairs)`."""

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
    """Policy against base on held-out prompts; the first rate is the verdict. KL in nats per response."""

    win_rates: tuple[Rate, ...] = Field(min_length=1)
    mean_kl: float | None = None
    measures: tuple[Measure, ...] = ()
    best: tuple[Comparison, ...] = ()
    worst: tuple[Comparison, ...] = ()


class RoundFigures(Settings):
    """One round of the loop, as far as it got."""

    round: int
    judgements: int | None = None
    pairs: int | None = None
    reward_accuracy: float | None = None
    win_rate: float | None = None
    win_rate_low: float | None = None
    win_rate_high: float | None = None
    mean_kl: float | None = None


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


class ReportData(Settings):
    """Everything that the report shows; a section whose value is `None` or empty is shown as not run yet.

    `told`: sentences to be read before the figures. `training`: one mapping per policy step with `step` and any of the
    columns that docs/metrics.md names for log.jsonl.
    """

    run: str
    model: str = ""
    created_at: str = ""
    rounds: tuple[RoundFigures, ...] = ()
    labels: LabelFigures | None = None
    reward: RewardFigures | None = None
    training: tuple[Mapping[str, float | None], ...] = ()
    alarms: tuple[AlarmFigures, ...] = ()
    evaluation: EvaluationFigures | None = None
    told: tuple[str, ...] = ()
    manifest: tuple[StageRow, ...] = ()
    adapter: str = ""
    load_snippet: str = ""


def write_report(data: ReportData, path: Path) -> None:
    """Write the page to `path` atomically."""
    # A lone surrogate, which JSON can carry, has no UTF-8.
    write_text(path, render(data).encode("utf-8", "replace").decode())


def render(data: ReportData) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent, "count": count, "p_value": p_value}
    return environment.get_template("report.html.jinja").render(
        data=data,
        training_charts=training_charts(data.training, data.alarms),
        reliability=_reliability(data.reward),
        phases=phases(data.training),
        tokens=sum(_known(data.training, "tokens")),
        peak_memory=max(_known(data.training, "peak_memory_gb"), default=None),
    )


def training_charts(
    rows: tuple[Mapping[str, float | None], ...], alarms: tuple[AlarmFigures, ...] = ()
) -> list[tuple[str, Markup]]:
    """`(title, chart)` for each logged figure; the steps at which its alarm was on are shaded."""
    from pipeline.reporting import charts

    steps = _column(rows, "step")
    logged = list(dict.fromkeys(name for row in rows for name, value in row.items() if value is not None))
    drawn: list[tuple[str, Markup]] = []

    def draw(title: str, *names: str, bounds: tuple[float, float] | None = None) -> None:
        series = {name.replace("_", " "): _column(rows, name) for name in names if name in logged}
        marked = [(alarm.first, alarm.last) for alarm in alarms if alarm.figure in names]
        if series:
            drawn.append((title, charts.curves(steps, series, f"{title}, by step", bounds, marked)))

    draw("Score and reward", "score", "reward")
    for name in (name for name in logged if name.startswith("score_") and name not in _NO_PARTS):
        draw(f"Score: {name.removeprefix('score_').replace('_', ' ')}", name)
    draw("Uncertainty of the score, standard deviation", "score_std")
    draw("Spread of a prompt's scores, standard deviation", "score_spread")
    draw("KL from the base, nats per response", "kl")
    if {"score", "kl"} <= set(logged):
        drawing = charts.path(
            _column(rows, "kl"),
            _column(rows, "score"),
            "KL, nats",
            "score",
            "Score against KL, from first step to last",
        )
        drawn.append(("Score against KL", drawing))
    draw("Length, tokens", "length")
    draw("Responses that finish, share", "finish_rate", bounds=_SHARE)
    draw("Repeated 4-grams per response, share", "repetition")
    draw("Entropy, nats per token", "entropy")
    draw("Pairs whose preferred response gained more, share", "accuracy", bounds=_SHARE)
    draw("Reward of preferred and rejected responses", "reward_chosen", "reward_rejected")
    draw("KL coefficient", "kl_coefficient")
    draw("Clipped ratios, share", "clip_fraction")
    draw("Explained variance of the value network", "explained_variance")
    draw("Gradient norm", "grad_norm")
    draw("Tokens per second", "tokens_per_second")
    return drawn


def phases(rows: tuple[Mapping[str, float | None], ...]) -> list[tuple[str, float]]:
    """`(phase, total seconds)` from the columns `seconds_<phase>`, in the order in which they were logged."""
    totals: dict[str, float] = {}
    for row in rows:
        for name, value in row.items():
            if name.startswith("seconds_") and value is not None and math.isfinite(value):
                phase = name.removeprefix("seconds_").replace("_", " ")
                totals[phase] = totals.get(phase, 0.0) + value
    return list(totals.items())


def number(value: float | None, digits: int = 2) -> str:
    """A figure as text; an en dash if there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,.{digits}f}".replace("-", "−")


def count(value: int | None) -> str:
    """A whole number as text."""
    return number(value, 0)


def p_value(value: float | None) -> str:
    """A probability as text, never rounded to zero."""
    return "<0.001" if value is not None and value < 0.001 else number(value, 3)


def percent(value: float | None) -> str:
    """A share of 1 as a percentage."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.1f}%"


def _column(rows: tuple[Mapping[str, float | None], ...], name: str) -> list[float]:
    """The values of one column; NaN if a row lacks it."""
    values = [row.get(name) for row in rows]
    return [math.nan if value is None else float(value) for value in values]


def _known(rows: tuple[Mapping[str, float | None], ...], name: str) -> list[float]:
    return [value for value in _column(rows, name) if math.isfinite(value)]


def _reliability(reward: RewardFigures | None) -> Markup | None:
    if reward is None or not reward.reliability:
        return None
    from pipeline.reporting import charts

    label = "Reliability of the reward model on held-out pairs"
    return charts.reliability(reward.reliability, label, reward.reliability_after)
