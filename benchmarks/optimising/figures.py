"""The drawings of over-optimisation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure

from benchmarks.optimising.curves import WINDOW, shape, smoothed

GREY, BLUE, ORANGE, GREEN, RED = "0.6", "#0072b2", "#d55e00", "#009e73", "#b3362b"
matplotlib.rcParams.update(
    {
        "svg.hashsalt": "rlhf",
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)
_SEEDS = ("-", "--", ":", "-.")


def draw_overoptimisation(told: Mapping[str, Any], path: Path) -> None:
    """Gold against the root of the KL, for best-of-n and RL, with the fits; gold and proxy by step, with the alarms."""
    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(11.5, 3.4), layout="constrained")
    base, runs = told["base_gold"], told["rl"]["proxy"]
    for seed, run in told["best_of_n"].items():
        left.plot(np.sqrt(run["kl"]), np.array(run["gold"]) - base[seed], "o", color=BLUE, markersize=3, alpha=0.6)
    for seed, run in runs.items():
        middle.plot(
            np.sqrt(np.clip(run["kl"], 0, None)), np.array(run["gold"]) - base[seed], ".", color=ORANGE,
            markersize=3, alpha=0.6,
        )  # fmt: skip
    for panel, kind, name, colour in ((left, "best of n", "best_of_n", BLUE), (middle, "rl", "proxy", ORANGE)):
        _fitted(panel, kind, told["fits"][name], colour)
        panel.axhline(0, color="0.85", linewidth=0.8, zorder=0)
        panel.set(xlabel="√KL to the base, √nats", ylabel="gold, gain over the base", xlim=(0, None))
    _beside(left, told["best_of_n"])
    _beside(middle, runs)
    left.set_title("best-of-n")
    middle.set_title("RLOO")

    for (seed, run), style in zip(runs.items(), _SEEDS * len(runs), strict=False):
        steps = np.arange(1, len(run["gold"]) + 1)
        right.plot(steps, smoothed(run["gold"]), style, color=ORANGE, linewidth=1.2, label=f"gold, seed {seed}")
        right.plot(run["best_step"], run["best_gold"], "v", color=ORANGE, markersize=5)
        for name, step in run["first_alarms"].items():
            height = smoothed(run["gold"])[step - 1]
            right.plot(step, height, "x", color=RED, markersize=5)
            right.annotate(name, (step, height), xytext=(3, 3), textcoords="offset points", fontsize=7, color=RED)
    right.set(xlabel="step of RLOO", ylabel="gold, mean of 5 steps", title="▼ gold turns, × an alarm goes on")
    right.legend(frameon=False)
    _save(figure, path)


def draw_pessimism(told: Mapping[str, Any], path: Path) -> None:
    """Gold against the root of the KL with the proxy's mean alone and with its uncertainty taken off, seed by seed."""
    figure, axes = pyplot.subplots(figsize=(5.4, 3.6), layout="constrained")
    for arm, colour in zip(told["pessimism"]["arms"], (ORANGE, GREEN), strict=True):
        for (seed, run), style in zip(told["rl"][arm].items(), _SEEDS * 9, strict=False):
            gain = smoothed(run["gold"]) - told["base_gold"][seed]
            far = np.sqrt(smoothed(run["kl"]).clip(0))
            label = {"proxy": "mean"}.get(arm, arm.replace("pessimism ", "mean − ") + " standard deviations")
            axes.plot(far, gain, style, color=colour, linewidth=1.2, label=label if style == "-" else None)
    axes.axhline(0, color="0.85", linewidth=0.8, zorder=0)
    axes.set(xlabel="√KL to the base, √nats", ylabel="gold, gain over the base, mean of 5 steps", xlim=(0, None))
    axes.legend(frameon=False, title="optimised (a line style a seed)")
    _save(figure, path)


def _beside(panel: Any, runs: Mapping[str, Any]) -> None:
    """What the proxy itself says, averaged over five points, on an axis of its own."""
    axis = panel.twinx()
    for run in runs.values():
        far, proxy = np.sqrt(np.clip(run["kl"], 0, None)), run["proxy"]
        if len(proxy) > 2 * WINDOW:  # steps, which waver
            far, proxy = np.sqrt(smoothed(run["kl"]).clip(0)), smoothed(proxy)
        axis.plot(far, proxy, color=GREY, linewidth=0.8)
    axis.set_ylabel("the proxy's score", color=GREY)
    axis.tick_params(colors=GREY)
    axis.spines["right"].set(visible=True, color=GREY)


def _fitted(panel: Any, kind: str, fit: Mapping[str, Any], colour: str) -> None:
    if fit["alpha"] is None:
        return
    far = np.linspace(0.01, panel.get_xlim()[1], 200)
    formula = "d(α − βd)" if kind == "best of n" else "d(α − β log d)"
    panel.plot(far, shape(kind, far, fit["alpha"], fit["beta"]), color=colour, linewidth=1.2,
               label=f"{formula}, α = {fit['alpha']:.2f}, β = {fit['beta']:.2f}")  # fmt: skip
    panel.legend(frameon=False, loc="upper left")


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)
