"""Does a verdict keep its promise when one looks after every judgement, and how many judgements does it take?

- Null: two identical policies, 300 judgements, one to three judges a prompt. On each prompt the judges who prefer one
  prefer the candidate with a probability of its own, Beta(2, 2) or Beta(0.5, 0.5); 20% prefer neither. The judges of a
  prompt answer one after the other. How often a false winner is called by 300 judgements: by the verdict (one bet a
  prompt, when its last judge has answered), by the same bets on single votes, and by a one-sided z-test at 5% from the
  tenth vote on.
- Coverage: how often the 95% confidence sequence holds the true win rate at every look.
- Power: judgements until "better", where 55 to 70% of preferences are for the candidate, Beta(4p, 4(1 - p)) over
  prompts; beside a one-sided z-test of a number that was fixed beforehand.

    python benchmarks/verdict.py --figure benchmarks/verdict.svg
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from benchmarks.crowd.machine import machine
from pipeline.verdict.betting import log_capital

ALPHA, TIES, JUDGEMENTS, FIRST_LOOK = 0.05, 0.2, 300, 10
EFFECTS = ((2.0, 2.0), (0.5, 0.5))
RATES = (0.55, 0.6, 0.65, 0.7)
_Z = 1.6449
_CHUNK = 250
_LONGEST = 2400


def main() -> None:
    """Simulate, print the tables, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--campaigns", type=int, default=2000, help="simulated campaigns for each figure")
    parser.add_argument("--figure", type=Path, help="where the drawing of the power goes; .svg or .png")
    arguments = parser.parse_args()
    number = arguments.campaigns
    print(f"{machine()}\n\n| effects | judges a prompt | verdict | single votes | z-test | coverage |")
    print("|---|---|---|---|---|---|")
    for effects in EFFECTS:
        for judges in (1, 2, 3):
            found = null(effects, judges, number)
            held = covered(effects, judges, number)
            told = " | ".join(f"{found[name]:.1%}" for name in ("verdict", "votes", "z"))
            print(f"| Beta{effects} | {judges} | {told} | {held:.1%} |", flush=True)
    print("\n| preferred | median, 1 judge | 2 judges | 3 judges | fixed n, half decided | fixed n, 80% | coverage |")
    print("|---|---|---|---|---|---|---|")
    decided: dict[float, np.ndarray] = {}
    for rate in RATES:
        until = {judges: judgements_until(rate, judges, number) for judges in (1, 2, 3)}
        decided[rate] = until[1]
        medians = " | ".join(f"{np.median(each):.0f}" for each in until.values())
        power = fixed_power(rate)
        fixed = " | ".join(str(int(np.argmax(power >= share)) + 1) for share in (0.5, 0.8))
        held = covered((4 * rate, 4 * (1 - rate)), 1, number)
        print(f"| {rate:.0%} | {medians} | {fixed} | {held:.1%} |", flush=True)
    if arguments.figure:
        draw(decided, arguments.figure)


def campaigns(
    effects: tuple[float, float], judges: int, judgements: int, number: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Single votes (campaigns, judgements) and mean votes (campaigns, prompts), in the order in which they come."""
    rng = np.random.default_rng(seed)
    size = (number, judgements // judges, judges)
    shares = rng.beta(*effects, (*size[:2], 1))
    votes = np.where(rng.random(size) < TIES, 0.5, rng.random(size) < shares)
    return votes.reshape(number, -1), votes.mean(axis=2)


def null(effects: tuple[float, float], judges: int, number: int) -> Mapping[str, float]:
    """How often two identical policies are called different, by each rule."""
    votes, bets = campaigns(effects, judges, JUDGEMENTS, number)
    return {
        "verdict": float(_ever(log_capital(bets, 0.5) >= -np.log(ALPHA))),
        "votes": float(_ever(log_capital(votes, 0.5) >= -np.log(ALPHA))),
        "z": float(_ever(z_values(votes)[:, FIRST_LOOK - 1 :] > _Z)),
    }


def z_values(votes: np.ndarray) -> np.ndarray:
    """(mean - 1/2) over its standard error, after each vote: (campaigns, votes)."""
    at = np.arange(1, votes.shape[1] + 1)
    mean = np.cumsum(votes, axis=1) / at
    variance = np.maximum(np.cumsum(votes**2, axis=1) / at - mean**2, 1e-9)
    return np.asarray((mean - 0.5) / np.sqrt(variance / at))


def covered(effects: tuple[float, float], judges: int, number: int) -> float:
    """How often the confidence sequence holds the true win rate at each of all looks."""
    _, bets = campaigns(effects, judges, JUDGEMENTS, number, seed=1)
    truth = (1 - TIES) * effects[0] / sum(effects) + TIES / 2
    refuted = np.maximum(log_capital(bets, truth), log_capital(1 - bets, 1 - truth)) >= np.log(2 / ALPHA)
    return 1 - float(_ever(refuted))


def judgements_until(rate: float, judges: int, number: int) -> np.ndarray:
    """Judgements until "better" (campaigns,): infinite for those that have not decided after 2,400."""
    until = []
    for start in range(0, number, _CHUNK):
        size = min(_CHUNK, number - start)
        _, bets = campaigns((4 * rate, 4 * (1 - rate)), judges, _LONGEST, size, seed=start)
        reached = log_capital(bets, 0.5) >= -np.log(ALPHA)
        first = (np.argmax(reached, axis=1) + 1.0) * judges
        until.append(np.where(reached.any(axis=1), first, np.inf))
    return np.concatenate(until)


def fixed_power(rate: float) -> np.ndarray:
    """The power of a one-sided z-test of n judgements on n prompts, for n from 1 to 2,400, by the normal law."""
    from scipy.stats import norm

    mean = (1 - TIES) * rate + TIES / 2
    deviation = np.sqrt((1 - TIES) * rate + TIES / 4 - mean**2)
    return np.asarray(norm.cdf((mean - 0.5) / deviation * np.sqrt(np.arange(1, _LONGEST + 1)) - _Z))


def draw(decided: Mapping[float, np.ndarray], path: Path) -> None:
    """The share of verdicts that are decided by so many judgements, beside the power of a fixed number of them."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "rlhf", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
    at = np.unique(np.geomspace(7, _LONGEST, 120).astype(int))
    for rate, color in zip(decided, ("#a6bddb", "#74a9cf", "#2b8cbe", "#045a8d"), strict=True):
        axes.plot(at, [(decided[rate] <= n).mean() for n in at], color=color, label=f"{rate:.0%} prefer the candidate")
        axes.plot(at, fixed_power(rate)[at - 1], color=color, linestyle=":")
    axes.plot([], [], color="#444", linestyle=":", label="z-test, looked at once")
    axes.set(xscale="log", xlabel="judgements, one a prompt", ylabel="share that is decided", ylim=(0, 1.02))
    axes.set_xticks([10, 30, 100, 300, 1000], ["10", "30", "100", "300", "1000"])
    axes.minorticks_off()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _ever(reached: np.ndarray) -> np.floating:
    return reached.any(axis=1).mean()


if __name__ == "__main__":
    main()
