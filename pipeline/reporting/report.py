"""One self-contained `report.html` per run: whether to ship, why, and everything that this rests on.

The stages pass in plain values (`data.py`). This module computes only charts and sums, and the page says which stages
have not run yet. Names and texts are untrusted: the template escapes everything. The page's Content-Security-Policy
forbids whatever comes from elsewhere, and every script but the page's own, which is named by its hash; without scripts
the page says the same.
"""

import base64
import hashlib
import math
import random
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from foundation.files import write_text
from labeling_ui.markdown.block import STYLE, block
from pipeline.reporting.data import AlarmFigures, Comparison, EvaluationFigures, ReportData, RewardFigures

_STATIC = Path(__file__).with_name("static")
_NO_PARTS = ("score_std", "score_spread")
_JUDGED = ("judge_gain", "judge_low", "judge_high")
_SHARE = (-0.03, 1.03)


def write_report(data: ReportData, path: Path) -> None:
    """Write the page to `path` atomically."""
    # A lone surrogate, which JSON can carry, has no UTF-8.
    write_text(path, render(data).encode("utf-8", "replace").decode())


def render(data: ReportData) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(_STATIC),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent, "count": count, "p_value": p_value}
    style, script = ((_STATIC / name).read_text(encoding="utf-8") for name in ("style.css", "samples.js"))
    return environment.get_template("report.html.jinja").render(
        data=data,
        style=Markup(style + STYLE.read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        samples=samples(data.evaluation) if data.evaluation else [],
        block=block,
        training_charts=training_charts(data.training, data.alarms),
        reliability=_reliability(data.reward),
        phases=phases(data.training),
        tokens=sum(_known(data.training, "tokens")),
        peak_memory=max(_known(data.training, "peak_memory_gb"), default=None),
    )


def samples(evaluation: EvaluationFigures) -> list[tuple[str, str, list[Comparison]]]:
    """`(title, note, pairs)`: those drawn at random first, then those with the greatest gain and the greatest loss."""
    pairs, shown = list(evaluation.pairs), evaluation.shown
    drawn = random.Random(0).sample(pairs, min(shown, len(pairs)))
    chosen = [
        ("At random", "Held-out prompts drawn by lot: this is how the policy usually answers.", drawn),
        ("Where the policy gained most", "The largest gains over the base, by the first judge.", pairs[:shown]),
        (
            "Where the policy lost most",
            "The largest losses. Read these before you trust the average.",
            pairs[::-1][:shown],
        ),
    ]
    return [each for each in chosen if each[2]]


def training_charts(
    rows: tuple[Mapping[str, float | None], ...], alarms: tuple[AlarmFigures, ...] = ()
) -> list[tuple[str, Markup]]:
    """`(title, chart)` for each logged figure; the steps at which its alarm was on are shaded."""
    if not rows:
        return []
    from pipeline.reporting import charts  # matplotlib, which takes a second to load

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
    if judged := tuple(row for row in rows if row.get("judge_gain") is not None):
        title = "Gain by the held-out judge, standard deviations"
        at, gains, lows, highs = (_column(judged, name) for name in ("step", *_JUDGED))
        drawn.append((title, charts.points(at, gains, lows, highs, f"{title}, with 95% intervals, by step")))
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
