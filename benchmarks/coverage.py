"""How often does each printed 95% interval cover the truth?

Of n cases (8 to 256) at p (50, 80 and 95%), each figure as it is printed:

- share: win rates, agreement with known answers or oneself, sides; weighed exactly over all outcomes
- share, 3 a prompt: reward accuracy, where three judgements share each of n prompts, and a prompt has a p of its own,
  spread as Beta(p, 1 − p)
- gain: the paired difference between two that agree on 70% of the cases, and of which the other has 60% elsewhere
- alpha: two annotators of n tasks, each right with p
- skill: of one annotator with n known answers
- skill, overlap 2 (3): of 20 annotators without known answers, all right with p; n answers each

    python benchmarks/coverage.py --draws 1000
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from scipy.stats import binom

from foundation.intervals import clustered_share_interval, paired_interval
from labeling_ui.quality.agreement import krippendorff
from labeling_ui.quality.skill import Choice, estimate

SIZES, SHARES = (8, 16, 64, 256), (0.5, 0.8, 0.95)
_PROMPTS = 3  # judgements of one prompt

_CROWD = 20
_CROWDS = 10  # draws of one annotator for each drawn crowd

Draw = Callable[[np.random.Generator, int, float], float]


def main() -> None:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000, help="simulated data sets for each figure")
    draws = parser.parse_args().draws
    print("| interval | p | " + " | ".join(f"n = {n}" for n in SIZES) + " |")
    for p in SHARES:
        print(f"| share | {p:.0%} | " + " | ".join(f"{100 * share(n, p):.1f}" for n in SIZES) + " |")
    for name, draw in DRAWN.items():
        for p in SHARES:
            number = draws // _CROWDS if name.startswith("skill, ") else draws
            print(
                f"| {name} | {p:.0%} | " + " | ".join(f"{100 * covered(draw, n, p, number):.1f}" for n in SIZES) + " |",
                flush=True,
            )


def share(n: int, p: float) -> float:
    """The coverage of a share of independent cases, over all outcomes."""
    total = 0.0
    for wins in range(n + 1):
        low, high = clustered_share_interval(np.repeat([1.0, 0.0], [wins, n - wins]), range(n))
        total += float(binom.pmf(wins, n, p)) if low <= p <= high else 0.0
    return total


def covered(draw: Draw, n: int, p: float, draws: int) -> float:
    """The coverage over simulated data sets."""
    generator = np.random.default_rng(0)
    return sum(draw(generator, n, p) for _ in range(draws)) / draws


def _clustered(generator: np.random.Generator, n: int, p: float) -> bool:
    of_prompt = generator.beta(p, 1 - p, size=n)
    right = (generator.random((n, _PROMPTS)) < of_prompt[:, None]).astype(float).ravel()
    low, high = clustered_share_interval(right, np.repeat(np.arange(n), _PROMPTS).tolist())
    return low <= p <= high


def _gain(generator: np.random.Generator, n: int, p: float) -> bool:
    new = generator.random(n) < p
    old = np.where(generator.random(n) < 0.7, new, generator.random(n) < 0.6)
    low, high = paired_interval(new.astype(float) - old, range(n))
    return low <= 0.3 * (p - 0.6) <= high


def _alpha(generator: np.random.Generator, n: int, p: float) -> bool:
    first = generator.random(n) < 0.5
    said = (generator.random((n, 2)) < p) == first[:, None]
    found = krippendorff({(str(task),): {"a": int(a), "b": int(b)} for task, (a, b) in enumerate(said)})
    return found.low is None or found.high is None or found.low <= (2 * p - 1) ** 2 <= found.high


def _skill(generator: np.random.Generator, n: int, p: float) -> bool:
    choices = [Choice("a", (str(task),), bool(right)) for task, right in enumerate(generator.random(n) < p)]
    skill = estimate(choices, {choice.unit: True for choice in choices})["a"]
    return skill.low <= p <= skill.high


def _crowd(overlap: int) -> Draw:
    """The share of a crowd's intervals that hold p."""

    def covered_in_a_crowd(generator: np.random.Generator, n: int, p: float) -> float:
        seats = [generator.permutation(_CROWD) for _ in range(n)]  # each turn, everybody answers once
        places = np.concatenate(seats)[: _CROWD * n // overlap * overlap].reshape(-1, overlap)
        choices = [
            Choice(str(who), (str(task),), bool(generator.random() < p))
            for task, voters in enumerate(places)
            for who in sorted(set(voters.tolist()))
        ]
        skills = estimate(choices).values()
        return sum(skill.low <= p <= skill.high for skill in skills) / len(skills)

    return covered_in_a_crowd


DRAWN: Mapping[str, Draw] = {
    "share, 3 a prompt": _clustered,
    "gain": _gain,
    "alpha": _alpha,
    "skill": _skill,
    "skill, overlap 2": _crowd(2),
    "skill, overlap 3": _crowd(3),
}


if __name__ == "__main__":
    main()
