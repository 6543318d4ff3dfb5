"""Do the bounds of tuning hold, and does the gate tell good labels from noise? On simulated policies and labels.

- the KL: RLOO with Adam on a Gaussian policy in 64 dimensions, 40 steps of 32 responses, so that the KL is known.
  With a fixed coefficient of 0.05, with one changed by at most 2% a step (Ziegler et al. 2019), and with the project's
- the length: a policy whose mean length drifts by up to 5% a step towards what the reward pays, with Adam's inertia,
  measured with an error of 15%, which the prompts of a step alone make; 40 steps
- the gate: a head on 64 features of 300 pairs, three a prompt, judged by a quality, by length, by words or by a coin

It needs no model, and takes seconds.

    python benchmarks/bounds.py --seeds 20
"""

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from policy.algorithms.kl import AdaptiveKL
from policy.algorithms.length import LengthBand
from reward_model.evaluation.gate import Evidence, cross_fitted_head, weigh
from reward_model.labels.records import Pair

PAIRS = 300
JUDGED_BY = ("quality", "length", "words", "coin")
_SLOPES = [(-1.0, 0.02), (-1.0, 0.05), (1.0, 0.02), (1.0, 0.05), (0.0, 0.0)]
_PLANTS = [(3.0, 0.3, 0.06), (3.0, 1.0, 0.03), (3.0, 1.0, 0.06), (3.0, 1.0, 0.12), (3.0, 30.0, 0.06), (6.0, 1.0, 0.06)]

Rule = Callable[[float, int], float]
"""The coefficient after a step with this mean KL in so many responses."""


def fixed(target: float, spread: float) -> tuple[float, Rule]:
    """0.05, whatever happens: the first coefficient, and the rule."""
    return 0.05, lambda kl, n: 0.05


def slow(target: float, spread: float) -> tuple[float, Rule]:
    """Ziegler et al. 2019, section 2.2, with a horizon of ten steps."""
    beta = 0.05

    def rule(kl: float, n: int) -> float:
        nonlocal beta
        beta *= math.exp(min(max(kl / target - 1, -0.2), 0.2) * n / 320)
        return beta

    return beta, rule


def adaptive(target: float, spread: float) -> tuple[float, Rule]:
    """The project's own."""
    controller = AdaptiveKL(target, spread)

    def rule(kl: float, n: int) -> float:
        nonlocal controller
        controller = controller.after(kl, n)
        return controller.coefficient

    return controller.coefficient, rule


def tune(rule: tuple[float, Rule], spread: float, rate: float, seed: int) -> np.ndarray:
    """The KL at each of 40 steps of 32 responses: RLOO with Adam on a Gaussian policy, N(mean, 1) in 64 dimensions.

    The base is N(0, 1), so the KL is |mean|^2 / 2, and noisy as it is measured. The reward is concave in one direction.
    """
    draw, (beta, after) = np.random.default_rng(seed), rule
    mean, first, second, kls = np.zeros(64), np.zeros(64), np.zeros(64), []
    direction = draw.normal(size=64)
    direction *= spread / np.linalg.norm(direction)
    for step in range(1, 41):
        responses = mean + draw.normal(size=(32, 64))
        kl = responses @ mean - mean @ mean / 2
        rewards = (2 * spread * np.tanh(responses @ direction / (2 * spread)) - beta * kl).reshape(8, 4)
        advantages = (4 / 3 * (rewards - rewards.mean(1, keepdims=True))).ravel()
        gradient = (advantages[:, None] * (responses - mean)).mean(0)
        gradient /= max(1.0, np.linalg.norm(gradient))
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        kls.append(mean @ mean / 2)
        moved = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        mean = mean + rate * min(1.0, step / 3) * moved
        beta = after(float(kl.mean()), 32)
    return np.array(kls)


def drift(slope: float, speed: float, seed: int) -> tuple[float, float, float]:
    """The least and the largest ratio of the mean length to the base's, and the mean price, in units of the score.

    `slope` is what the reward pays for length, -1 to 1; `speed` how far the log of the mean length can move in a step.
    """
    draw, band, log_ratio, momentum = np.random.default_rng(seed), LengthBand(40.0, 1.0), 0.0, 0.0
    ratios, prices = [], []
    for _ in range(40):
        prices.append(abs(band.price))
        momentum = 0.9 * momentum + 0.1 * float(np.clip(slope - band.price, -1, 1))
        log_ratio += speed * momentum
        ratios.append(math.exp(log_ratio))
        band = band.after(40 * ratios[-1] * draw.normal(1, 0.15), 32)
    return min(ratios), max(ratios), float(np.mean(prices))


def pairs_of(n: int, each: int = 3) -> list[Pair]:
    """Pairs of which every `each` answer one prompt."""
    return [Pair(({"role": "user", "content": f"p{i // each}"},), f"a{i}", f"b{i}") for i in range(n)]


def evidence(judged_by: str, seed: int) -> Evidence:
    """What a head knows that is fitted to features of pairs, among which length and words are, beyond these two."""
    draw, pairs = np.random.default_rng(seed), pairs_of(PAIRS)
    features, lengths, words = draw.normal(size=(PAIRS, 64)), draw.normal(0, 10, PAIRS), draw.normal(size=PAIRS)
    features[:, 0], features[:, 1] = lengths / 10 + draw.normal(0, 0.1, PAIRS), words + draw.normal(0, 0.1, PAIRS)
    quality = features[:, 2:] @ draw.normal(size=62) / 8
    liked = {"quality": 2 * quality, "length": 2 * lengths / 10, "words": 2 * words, "coin": 0 * lengths}[judged_by]
    side = np.where(draw.random(PAIRS) < 1 / (1 + np.exp(-liked)), 1, -1)
    scores = cross_fitted_head(features * side[:, None], pairs)
    return weigh(scores, lengths * side, words * side, [pair.conversation_key for pair in pairs])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="The bounds of tuning, on simulated policies and labels.")
    parser.add_argument("--seeds", type=int, default=20)
    seeds = range(parser.parse_args().seeds)
    print("| target | spread of rewards | learning rate | fixed | 2% a step | ours | ours, highest |\n|" + "---|" * 7)
    for target, spread, rate in _PLANTS:
        runs = [
            np.mean([tune(rule(target, spread), spread, rate, seed) for seed in seeds], axis=0)
            for rule in (fixed, slow, adaptive)
        ]
        held = " | ".join(f"{kls[20:].mean():.1f}" for kls in runs)
        print(f"| {target:g} | {spread:g} | {rate:g} | {held} | {runs[-1].max():.1f} |")
    print("\n| reward of length | speed | shortest | longest | mean price |\n" + "|---" * 5 + "|")
    for slope, speed in _SLOPES:
        lengths = np.array([drift(slope, speed, seed) for seed in seeds])
        low, high, price = lengths[:, 0].min(), lengths[:, 1].max(), lengths[:, 2].mean()
        print(f"| {slope:g} | {speed:.0%} | {low:.2f} | {high:.2f} | {price:.2f} |")
    print("\n| judged by | passed | accuracy of the head |\n|---|---|---|")
    for judged_by in JUDGED_BY:
        found = [evidence(judged_by, seed) for seed in seeds]
        accuracy = np.mean([each.accuracy for each in found])
        print(f"| {judged_by} | {sum(each.passed for each in found)} of {len(found)} | {accuracy:.1%} |")


if __name__ == "__main__":
    main()
