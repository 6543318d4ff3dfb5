"""Draws the figures of policy-gradients.md, with that page's own code and the project's functions.

    python docs/figures/draw.py          writes the .svg files beside this script

The blocks of the page are run first. What is plotted is exact, by enumeration; nothing is sampled but random policies.
"""

import re
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from policy.algorithms.advantages import discounted_returns, generalized_advantages, group_advantages, leave_one_out
from policy.algorithms.losses import clipped_surrogate
from reward_model.uncertainty import Laplace

HERE = Path(__file__).parent
POLICIES = 200
INK, BLUE, ORANGE, GREEN, RED = "#333a45", "#2457c5", "#d9772b", "#2f8f5b", "#b3362b"
plt.rcParams.update(
    {
        "svg.hashsalt": "rlhf-pipeline", "svg.fonttype": "path", "font.size": 10, "axes.spines.top": False,
        "axes.spines.right": False, "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK,
        "ytick.color": INK,
        "figure.figsize": (6.4, 3.2), "figure.constrained_layout.use": True, "figure.facecolor": "white",
    }
)  # fmt: skip


def page_code() -> dict[str, Any]:
    """The names that policy-gradients.md defines, after running its blocks."""
    text = (HERE.parent / "policy-gradients.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        exec(compile(block, "policy-gradients.md", "exec"), names)
    return names


def baseline(page: dict[str, Any]) -> None:
    """Variance of REINFORCE against a constant baseline, for rewards around 1 and around 10."""
    figure, axes = plt.subplots()
    shifts = np.linspace(-1, 3, 41)
    for above, colour in ((0.0, BLUE), (1.0, ORANGE)):
        found = [page["variance"](page["plain"] + above - b) for b in shifts]
        axes.plot(shifts, found, color=colour, label=f"rewards of {above:g} to {above + 2:g}")
        axes.plot(shifts[int(np.argmin(found))], min(found), "o", color=colour)
    axes.set(xlabel="baseline b", ylabel="variance of the gradient", ylim=(0, None))
    axes.legend(frameon=False)
    save(figure, "baseline")


def group_bias(page: dict[str, Any]) -> None:
    """The angle between each group estimator's mean and the gradient, by how far apart the rewards of two words are."""
    figure, axes = plt.subplots()
    rewards = page["R"].clone()
    kinds = {
        "RLOO": (BLUE, "-", lambda r: leave_one_out(r, 2)),
        "Dr. GRPO": (GREEN, "--", lambda r: group_advantages(r, 2, scale=False)),
        "GRPO": (RED, "-", lambda r: group_advantages(r, 2, scale=True)),
    }
    best = np.linspace(1, 8, 15)
    angles: dict[str, list[float]] = {name: [] for name in kinds}
    for value in best:  # one sentence is worth more and more
        page["R"][:] = rewards
        page["R"][-2] = value
        objective = (page["token_logprobs"](page["sentences"]).sum(1).exp() * page["R"]).sum()
        exact = torch.autograd.grad(objective, page["theta"])[0].flatten()
        for name, (_, _, advantages) in kinds.items():
            mean = page["expected_group_gradient"](advantages).flatten()
            cosine = torch.cosine_similarity(mean, exact, 0).clamp(-1, 1)
            angles[name].append(float(torch.rad2deg(torch.arccos(cosine))))
    page["R"][:] = rewards
    for name, (colour, style, _) in kinds.items():
        axes.plot(best, angles[name], style, color=colour, label=name, linewidth=2)
    axes.set(
        xlabel="reward of the best sentence (the others: 0 to 2)", ylabel="degrees off the gradient", ylim=(-2, None)
    )
    axes.legend(frameon=False)
    save(figure, "group_bias")


def ppo_clip(page: dict[str, Any]) -> None:
    """The clipped objective of one word against its ratio."""
    figure, panels = plt.subplots(1, 2, sharex=True)
    ratios = torch.linspace(0.5, 1.5, 101, dtype=torch.float64)[:, None]
    one = torch.ones_like(ratios)
    for axes, advantage in zip(panels, (1.0, -1.0), strict=True):
        values = [-float(clipped_surrogate(r[None].log(), 0 * r[None], advantage * one[:1], 0.2)) for r in ratios]
        axes.plot(ratios, advantage * ratios, ":", color=INK, label="without clipping")
        axes.plot(ratios, values, color=BLUE, linewidth=2, label="PPO, clip 0.2")
        axes.axvspan(0.8, 1.2, color=BLUE, alpha=0.08)
        axes.set(title=f"advantage {advantage:+g}", xlabel="ratio")
    panels[0].set_ylabel("objective")
    panels[0].legend(frameon=False)
    save(figure, "ppo_clip")


def kl_tradeoff(page: dict[str, Any]) -> None:
    """Reward against KL of the policies that are optimal for each price of KL."""
    figure, axes = plt.subplots()
    base = page["base_logprobs"].sum(1)
    points = []
    for beta in np.geomspace(0.05, 20, 80):
        optimal = (base + page["R"] / beta).softmax(0)
        kl = float((optimal * (optimal.log() - base)).sum())
        points.append((kl, float((optimal * page["R"]).sum()), beta))
    axes.plot([kl for kl, _, _ in points], [reward for _, reward, _ in points], color=BLUE, linewidth=2)
    for beta in (5, 1, 0.5, 0.2):
        kl, reward, _ = min(points, key=lambda point: abs(point[2] - beta))
        axes.plot(kl, reward, "o", color=BLUE)
        axes.annotate(f"β = {beta:g}", (kl, reward), (6, -12), textcoords="offset points", color=INK)
    axes.set(xlabel="KL to the base, nats", ylabel="expected reward")
    save(figure, "kl_tradeoff")


def variance(page: dict[str, Any]) -> None:
    """Variance of each estimator from one sentence, over random policies."""
    figure, axes = plt.subplots()
    found: dict[str, list[float]] = {}
    generator = torch.Generator().manual_seed(1)
    for _ in range(POLICIES):
        page["theta"].data = torch.randn(page["theta"].shape, generator=generator, dtype=torch.float64)
        logprobs = page["token_logprobs"](page["sentences"])
        page["probability"] = logprobs.sum(1).exp()
        (page["exact"],) = torch.autograd.grad((page["probability"] * page["R"]).sum(), page["theta"])
        p, mask, rewards = page["probability"].detach(), page["mask"], page["rewards"]
        returns = discounted_returns(rewards, 1.0)
        mean = (p * returns[:, 0]).sum()
        after = (logprobs[:, 1].detach().exp() * rewards[:, 1]).reshape(3, 3).sum(1)[page["sentences"][:, 0]]
        V = torch.stack([mean.expand(9), after], 1)
        bars = {
            "REINFORCE": returns[:, :1] * mask,
            "with returns": returns,
            "with the mean as baseline": returns[:, :1] - mean * mask,
            "with a value function (λ = 1)": generalized_advantages(rewards, V, mask, 1.0, 1.0),
            "actor-critic (λ = 0)": generalized_advantages(rewards, V, mask, 1.0, 0.0),
        }
        for name, advantages in bars.items():
            found.setdefault(name, []).append(page["variance"](advantages))
    names, values = list(found)[::-1], np.array(list(found.values())[::-1])
    error = 1.96 * values.std(1, ddof=1) / np.sqrt(POLICIES)
    axes.barh(names, values.mean(1), xerr=error, color=BLUE, ecolor=INK, capsize=3)
    for row, (value, width) in enumerate(zip(values.mean(1), error, strict=True)):
        axes.text(value + width, row, f" {value:.2f}", va="center", color=INK)
    axes.set(xlabel=f"variance from one sentence; mean of {POLICIES} policies, 95%")
    save(figure, "variance")


def laplace(page: dict[str, Any]) -> None:
    """How sure a score difference is, over two features of which the comparisons cover one direction."""
    figure, axes = plt.subplots(figsize=(5, 3.6))
    generator = torch.Generator().manual_seed(0)
    compared = torch.randn(40, 2, generator=generator) * torch.tensor([1.5, 0.3])
    head = torch.tensor([1.0, 0.3])
    compared = torch.where((compared @ head > 0)[:, None], compared, -compared)
    posterior = Laplace.fit(compared, head, prior_precision=1.0)
    grid = torch.linspace(-4, 4, 81)
    x, y = torch.meshgrid(grid, grid, indexing="xy")
    std = posterior.variance(torch.stack([x.flatten(), y.flatten()], 1)).sqrt().reshape(x.shape)
    filled = axes.contourf(x, y, std, levels=12, cmap="Blues")
    figure.colorbar(filled, label="standard deviation of the difference")
    axes.scatter(*compared.T, s=12, color=ORANGE, label="pairs compared")
    axes.set(xlabel="difference in feature 1", ylabel="difference in feature 2")
    axes.legend(loc="upper left")
    save(figure, "laplace")


def save(figure: Any, name: str) -> None:
    """Write the figure without a date, so that the same code gives the same file."""
    figure.savefig(HERE / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    code = page_code()
    for draw in (baseline, group_bias, ppo_clip, kl_tradeoff, variance, laplace):
        draw(code)
