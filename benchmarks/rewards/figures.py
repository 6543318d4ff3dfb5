"""The drawings of the reward model's benchmarks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

GREY, BLUE, ORANGE, GREEN, RED = "0.45", "#0072b2", "#d55e00", "#009e73", "#b3362b"
ABOVE: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "frameon": False}
matplotlib.rcParams.update(
    {
        "svg.hashsalt": "rlhf",
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)


def draw_uncertainty(results: Mapping[str, Any], members: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Errors by certainty, Laplace against the ensemble, and labels chosen against labels drawn."""
    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(10.5, 3.6), layout="constrained")
    kinds = (("forecast", BLUE), ("ensemble's mean forecast", ORANGE), ("size of the difference", GREY))
    for shift, (name, colour) in zip((-0.12, 0, 0.12), kinds, strict=True):
        found = results["by"][name]
        errors, bounds = np.array(found["errors"]), np.array(found["intervals"]).T
        at = np.arange(1, len(errors) + 1) + shift
        left.errorbar(at, 100 * errors, 100 * np.abs(bounds - errors), color=colour, marker="o", markersize=4,
                      capsize=2, label={"forecast": "Laplace"}.get(name, name))  # fmt: skip
    left.set(xlabel="fifth of the pairs, the least sure first", ylabel="wrong, %", ylim=(0, None))
    left.legend(**ABOVE)

    spread = np.std([member["differences"] for member in members], axis=0, ddof=1)
    middle.plot(np.sqrt(members[0]["variances"]), spread, ".", color=BLUE, markersize=3, alpha=0.5)
    middle.set(xlabel="Laplace's standard deviation", ylabel="the ensemble's", xscale="log", yscale="log",
               title=f"rank correlation {results['rank_correlation']:.2f}")  # fmt: skip
    for axis in (middle.xaxis, middle.yaxis):
        axis.set_minor_formatter(NullFormatter())  # within one power of ten they would lie on one another
        axis.set_major_formatter(ScalarFormatter())
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))

    chosen = results["selection"]
    for way, label, colour in (("random", "drawn at random", GREY), ("uncertain", "chosen by uncertainty", BLUE)):
        means = 100 * np.array(chosen[way])
        right.plot(chosen["labels"], means, marker="o", markersize=4, color=colour, label=label)
        if chosen[f"{way}_sd"]:
            error = 196 * np.array(chosen[f"{way}_sd"]) / np.sqrt(chosen["repeats"])
            right.fill_between(chosen["labels"], means - error, means + error, color=colour, alpha=0.2, linewidth=0)
    right.set(xlabel="labels", ylabel="right on held-out pairs, %")
    right.legend(**ABOVE)
    save(figure, path)


def draw_soft_labels(results: Mapping[str, Any], path: Path) -> None:
    """Accuracy by what is made of the same votes, and agreement of the orders that kinds of label teach."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8.5, 3.6), layout="constrained")
    for crowd, colour, aside in (("five", BLUE, -0.15), ("four", ORANGE, 0.15)):
        for at, arm in enumerate(("majority", "votes", "weighed")):
            found = results["votes"][crowd][arm]
            _point(left, at + aside, found["accuracy"], colour, f"reward model, crowd of {crowd}")
            seeds = found["by_seed"]
            left.plot([at + aside] * len(seeds), 100 * np.array(seeds), ".", color=colour, alpha=0.4)
            label = "" if at or aside > 0 else "labels learned from"
            left.plot(at + aside, 100 * found["right_labels"], "_", color=GREY, markersize=18, label=label)
    names = ["raw majority", "soft labels", "soft labels,\nweighed by skill"]
    left.set(xlim=(-0.5, 2.5), xticks=range(3), xticklabels=names, ylabel="in the true order, %")
    left.legend(**ABOVE)

    for at, kind in enumerate(("rankings", "ratings")):
        found = results["kinds"][kind]
        _point(right, at - 0.1, found["tau_with_pairs"], ORANGE, "with the model of pairs", 1)
        _point(right, at + 0.1, found["tau_with_truth"], GREY, "with the truth", 1)
    truth = results["kinds"]["pairs"]["tau_with_truth"]["value"]
    right.axhline(truth, color=GREY, linewidth=0.8, linestyle=":", label="of pairs with the truth")
    right.set(
        xlim=(-0.5, 1.5), xticks=[0, 1], xticklabels=["rankings", "ratings"], ylabel="Kendall's tau", ylim=(0, 1.02)
    )
    handles, names = right.get_legend_handles_labels()
    unique = dict(zip(names, handles, strict=True))
    right.legend(unique.values(), unique.keys(), **ABOVE)
    save(figure, path)


def _point(axes: Any, at: float, found: Mapping[str, float], colour: str, label: str, scale: float = 100) -> None:
    value, low, high = (scale * found[key] for key in ("value", "low", "high"))
    first = label not in axes.get_legend_handles_labels()[1]
    axes.errorbar([at], [value], [[value - low], [high - value]], color=colour, marker="o", markersize=5, capsize=3,
                  linestyle="none", label=label if first else "")  # fmt: skip


def save(figure: Figure, path: Path) -> None:
    """Write the drawing; the same results make the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)
