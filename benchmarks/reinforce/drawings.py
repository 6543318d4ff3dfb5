"""The drawings of the textbook benchmark: samples, variance, and the language model's reward."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.reinforce.intervals import mean_interval, resampled
from policy.textbook.policy_gradient import ReinforceConfig

BASELINES = ("none", "mean", "value")
COLOURS = {"none": "0.5", "mean": "tab:orange", "value": "tab:blue"}
NAMES = {"none": "no baseline", "mean": "running mean", "value": "learned value"}
SET_REWARD, WINDOW = 0.8, 5


def _axes(ylabel: str, xlabel: str = "episodes") -> tuple[Figure, Any]:
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})


def draw_samples(runs: Sequence[dict[str, Any]], table: dict[str, Any], file: Path) -> None:
    """Each baseline's reward along its training, at the learning rate that suits it best."""
    figure, axes = _axes("BLEU, mean over seeds and its 95% interval")
    for name in BASELINES:
        rate = table[name]["learning_rate"]
        curves = [run["rewards"] for run in runs if (run["baseline"], run["learning_rate"]) == (name, rate)]
        curve = np.array(curves)[:, : len(curves[0]) // WINDOW * WINDOW].reshape(len(curves), -1, WINDOW).mean(2)
        episodes = (np.arange(curve.shape[1]) + 1) * WINDOW * ReinforceConfig().batch
        low, high = np.quantile(curve[resampled(len(curve))[:2000]].mean(1), (0.025, 0.975), axis=0)
        axes.fill_between(episodes, low, high, color=COLOURS[name], alpha=0.2, linewidth=0)
        axes.plot(episodes, curve.mean(0), color=COLOURS[name], label=f"{NAMES[name]} (learning rate {rate:g})")
    axes.axhline(SET_REWARD, color="0.8", linewidth=0.8, zorder=0)
    axes.set_ylim(0)
    axes.legend(frameon=False, loc="lower right")
    _save(figure, file)


def draw_variance(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """Each baseline's variance along the training, as a share of that without one."""
    figure, axes = _axes("variance of the gradient / without a baseline")
    episodes = [row["episodes"] for row in rows]
    for name in ("mean", "value"):
        ratios = [row[f"{name}/none"] for row in rows]
        low, high = ([ratio[end] for ratio in ratios] for end in ("low", "high"))
        axes.fill_between(episodes, low, high, color=COLOURS[name], alpha=0.2, linewidth=0)
        axes.plot(episodes, [ratio["estimate"] for ratio in ratios], color=COLOURS[name], label=NAMES[name])
    axes.axhline(1, color="0.8", linewidth=0.8, zorder=0)
    axes.set_yscale("log")
    axes.legend(frameon=False)
    _save(figure, file)


def draw_language_model(log: Sequence[dict[str, Any]], before: np.ndarray, after: np.ndarray, file: Path) -> None:
    """The reward of each step, and that on held-out prompts before and after."""
    figure, axes = _axes("BLEU + λ · grammar", "step")
    steps = [row["step"] for row in log]
    axes.plot(steps, [row["score"] for row in log], color="0.75", linewidth=0.8, label="training prompts, each step")
    for step, values in ((0, before), (steps[-1], after)):
        mean = mean_interval(values)
        axes.plot([step, step], [mean["low"], mean["high"]], color="tab:blue")
    axes.plot(
        [0, steps[-1]], [before.mean(), after.mean()], "o--", color="tab:blue", label="held-out prompts, 95% interval"
    )
    axes.legend(frameon=False)
    _save(figure, file)
