"""Charts for the report: numbers in, inline SVG out.

matplotlib draws; text stays text and every colour becomes a CSS variable of the page's stylesheet, so the same chart
works in light mode, in dark mode and on paper. No text from people or models is drawn here.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Placeholders for the colours of the stylesheet, replaced when the drawing is done.
_INK, _LINE, _FIRST, _SECOND, _WARN = "#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f"
_VARIABLES = {
    _INK: "var(--soft)",
    _LINE: "var(--line)",
    _FIRST: "var(--first)",
    _SECOND: "var(--second)",
    _WARN: "var(--warn-line)",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _LINE,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "ytick.major.size": 0,
    "xtick.major.size": 3,
    "text.parse_math": False,
}
_CLEANING = (
    (r"<metadata>.*?</metadata>|<style.*?</style>", ""),
    (r' width="[^"]*pt" height="[^"]*pt"', ""),  # the page sets the size
    (r"font-family: [^;\"]*;?", ""),  # the page's fonts
    (r'<g id="[^"]*"', "<g"),  # identical in every drawing, and never referenced
)
_SIZE = (3.7, 2.05)
"""Inches; the page scales the drawing to the available width."""


def curves(
    steps: Sequence[float],
    series: Mapping[str, Sequence[float]],
    label: str,
    bounds: tuple[float, float] | None = None,
    marked: Sequence[tuple[float, float]] = (),
) -> Markup:
    """One or two curves over the steps, each as measured (faint) and smoothed; values that are not finite are gaps.

    `marked`: ranges of steps, from first to last, to shade.
    """
    with matplotlib.rc_context(_STYLE):
        figure, axes = _canvas()
        for first, last in marked:
            axes.axvspan(first - 0.5, last + 0.5, color=_WARN, alpha=0.3, linewidth=0)
        for colour, (name, values) in zip((_FIRST, _SECOND), series.items(), strict=False):
            drawn = [value if math.isfinite(value) else math.nan for value in values]
            smooth = smoothed(drawn)
            axes.plot(steps, drawn, color=colour, linewidth=0.8, alpha=0.35)
            axes.plot(steps, smooth, color=colour, linewidth=1.8, label=name, marker="o" if len(drawn) == 1 else None)
        if len(series) > 1:
            axes.legend(frameon=False, fontsize=9, ncols=2, loc="lower left", bbox_to_anchor=(-0.02, 0.98), borderpad=0)
        axes.set_ylim(*(bounds or padded([value for values in series.values() for value in values])))
        axes.margins(x=0.02)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return _svg(figure, label)


def points(
    steps: Sequence[float], values: Sequence[float], lows: Sequence[float], highs: Sequence[float], label: str
) -> Markup:
    """Values at some steps, each with its interval, and a line at zero."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _canvas()
        axes.axhline(0, color=_INK, linewidth=0.8)
        axes.vlines(steps, lows, highs, color=_FIRST, linewidth=1.8)
        axes.plot(steps, values, "o", color=_FIRST)
        axes.set_ylim(*padded([*lows, *highs, 0.0]))
        axes.set_xlim(0, max(steps) * 1.05)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return _svg(figure, label)


def path(x: Sequence[float], y: Sequence[float], x_label: str, y_label: str, label: str) -> Markup:
    """Points in their given order, joined by a smoothed line, from the hollow point to the solid one."""
    points = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    with matplotlib.rc_context(_STYLE):
        figure, axes = _canvas()
        if points:
            xs, ys = (list(column) for column in zip(*points, strict=True))
            smooth_x, smooth_y = smoothed(xs), smoothed(ys)
            axes.scatter(xs, ys, s=10, color=_FIRST, alpha=0.35, linewidths=0)
            axes.plot(smooth_x, smooth_y, color=_FIRST, linewidth=1.8)
            axes.plot(smooth_x[0], smooth_y[0], "o", markersize=6, markerfacecolor="none", markeredgecolor=_FIRST)
            axes.plot(smooth_x[-1], smooth_y[-1], "o", markersize=6, color=_FIRST)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        return _svg(figure, label)


def reliability(
    bins: Sequence[tuple[float, float, int]], label: str, after: Sequence[tuple[float, float, int]] = ()
) -> Markup:
    """Reliability diagram of `(confidence, share right, pairs)` bins: confidence horizontal, share right vertical.

    `after`: the same bins with a temperature, drawn as hollow points.
    """
    with matplotlib.rc_context(_STYLE):
        figure, axes = _canvas()
        most = max((pairs for _, _, pairs in bins), default=1)
        axes.plot([0.5, 1], [0.5, 1], color=_SECOND, linewidth=1, linestyle="--")
        axes.plot([sure for sure, _, _ in bins], [right for _, right, _ in bins], color=_FIRST, linewidth=1.4)
        sizes = [12 + 70 * pairs / most for _, _, pairs in bins]
        axes.scatter(
            [sure for sure, _, _ in bins], [right for _, right, _ in bins], s=sizes, color=_FIRST, linewidths=0
        )
        if after:
            axes.plot(
                [sure for sure, _, _ in after], [right for _, right, _ in after], color=_SECOND, linewidth=1.2,
                marker="o", markersize=5, markerfacecolor="none",
            )  # fmt: skip
        axes.set_ylim(min([0.4, *(right for _, right, _ in [*bins, *after])]) - 0.02, 1.04)
        axes.set_xlabel("confidence of the model")
        axes.set_ylabel("share of pairs right")
        return _svg(figure, label)


def padded(values: Sequence[float]) -> tuple[float, float]:
    """A range in which values that hardly change look so: at least a fifth of the largest one wide."""
    known = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(known), max(known)
    span = max(1.1 * (high - low), 0.2 * max(abs(low), abs(high)), 1e-6)
    middle = (low + high) / 2
    return middle - span / 2, middle + span / 2


def smoothed(values: Sequence[float], keep: float = 0.7) -> list[float]:
    """Exponential moving average with bias correction; gaps stay gaps and do not spread."""
    result: list[float] = []
    total = weight = 0.0
    for value in values:
        if math.isfinite(value):
            total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
            result.append(total / weight)
        else:
            result.append(math.nan)
    return result


def _canvas() -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.ticklabel_format(useOffset=False)
    return figure, axes


def _svg(figure: Figure, label: str) -> Markup:
    """The drawing as an `<svg>` element without a fixed size, with the page's colours and fonts."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    for pattern, replacement in _CLEANING:
        drawing = re.sub(pattern, replacement, drawing, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        drawing = drawing.replace(colour, variable)
    return Markup(drawing.replace("<svg ", Markup('<svg role="img" aria-label="{}" ').format(label), 1))
