"""How many labels a policy needs until it wins, by each chooser: simulated annotators, who err on every fifth pair.

The policy is best-of-n: of the base's responses to a held-out prompt, the one that a head on the base's frozen states
likes best. All of its training is the head's, so hundreds of trainings take minutes. What wins is said by the demo's
guidelines (`pipeline/simulation/guidelines.py`), never by the annotators' noisy answers or by the head.

    python benchmarks/label_efficiency.py --json label_efficiency.json --figure benchmarks/label_efficiency.svg

Responses, their states and their worth are kept beside the results, and what is finished is not run again.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.label_choice import COLOURS, RANDOM, interval
from benchmarks.rewards.runs import Runs
from foundation.files import content_id, write_json
from reward_model.acquisition.choosers import CHOOSERS, take
from reward_model.acquisition.linear_head import LinearHead
from reward_model.evaluation.accuracy import credit

SIZES = (20, 40, 60, 80, 120, 160, 240, 320, 480, 640, 960)
ROUNDS = {"one round": 1, "three rounds": 3, "after every 20": None}
HELD_OUT = 0.25
ERRORS = 0.2
WANTED = 0.6
ALIKE = 0.05  # of the guidelines' score, which runs from -4 to 2.5: who prefers either here?
BATCH = 20

Wins = dict[str, float]


@dataclass(frozen=True)
class Pool:
    """`n` responses to each of m prompts: states (m, n, d) of the frozen base, worth (m, n) by the guidelines."""

    states: np.ndarray
    worth: np.ndarray


def main() -> None:
    """Run what is missing, print the table, and write the figures."""
    options = _options()
    pool = read_pool(options)
    arms = [(RANDOM, "one round"), *((way, rounds) for way in CHOOSERS for rounds in list(ROUNDS)[1:])]
    settings = {"model": options.model, "samples": options.samples, "sizes": list(SIZES), "errors": ERRORS}
    runs = Runs(options.json, settings, options.seeds * len(arms))
    results: dict[str, dict[str, list[float]]] = {}
    for seed in range(options.seeds):
        for way, rounds in arms:
            name = way if way == RANDOM else f"{way}, {rounds}"
            found = runs.once(f"{name}, seed {seed}", lambda w=way, r=rounds, s=seed: curve(pool, w, ROUNDS[r], s))
            for size, win_rate in found.items():
                results.setdefault(name, {}).setdefault(size, []).append(win_rate)
    write_json(options.json, results)
    print(f"{pool.worth.shape[0]} prompts, {pool.worth.shape[1]} responses each\n{table(results)}")
    if options.figure:
        draw(results, options.figure)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("label_efficiency.json"), help="where the figures go")
    parser.add_argument("--figure", type=Path, help="where the drawing goes; .svg or .png")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--samples", type=int, default=8, help="responses to each prompt, and n of best-of-n")
    parser.add_argument("--model", default="demo", help='"demo", a folder, or a hub id')
    return parser.parse_args()


def read_pool(options: argparse.Namespace) -> Pool:
    """The project's own prompts with the base's responses, as the demo samples them, in a file of their own."""
    from foundation.files import read_rows
    from pipeline.collection.prompts import EVERYDAY

    rows = read_rows(EVERYDAY)
    file = options.json.with_name(f"{options.json.stem}.{content_id(options.model, options.samples, rows)}.npz")
    if not file.is_file():
        states, worth = _sampled([row["prompt"] for row in rows], options.model, options.samples)
        np.savez(file, states=states, worth=worth)
    kept = np.load(file)
    return Pool(kept["states"].astype(float), kept["worth"])


def _sampled(prompts: Sequence[list[dict[str, str]]], model: str, samples: int) -> tuple[np.ndarray, np.ndarray]:
    from backbone.exactness import load_shared_base
    from backbone.sampling import sample
    from backbone.sampling_config import SamplingConfig
    from pipeline.simulation.guidelines import SimulatedPreference
    from reward_model.frozen_states import frozen_states

    base, done = load_shared_base(model), 0
    renderer = base.renderer

    def show(count: int) -> None:
        nonlocal done
        done += count
        print(f"\rsampled {done} of {len(prompts) * samples} responses", end="", file=sys.stderr, flush=True)

    asked = [renderer.prompt_ids(prompt) for prompt in prompts]
    how = SamplingConfig(max_new_tokens=48, temperature=0.8, top_p=0.95)
    with base.using(None):
        drawn = sample(base, asked, how, group=samples, progress=show)
    print("; scoring them", file=sys.stderr, flush=True)
    texts = [renderer.text(one.response_ids) for one in drawn]
    preference = SimulatedPreference(lambda: base)
    worth = preference.of([tuple(prompts[one.prompt]) for one in drawn], texts)
    responses = [renderer.completed(renderer.response_ids(text)) for text in texts]
    states = frozen_states(base, [asked[one.prompt] for one in drawn], responses)
    return states.reshape(len(prompts), samples, -1), np.array(worth).reshape(len(prompts), samples)


def curve(pool: Pool, way: str, rounds: int | None, seed: int) -> Wins:
    """The win rate of best-of-n over the base on held-out prompts, by the number of labels that were given.

    A chooser sees what was said in the rounds before: `rounds` equal ones, or, None, batches of 20; the first is random
    """
    return {str(size): _win_rate(pool, way, rounds, seed, size) for size in SIZES}


def _win_rate(pool: Pool, way: str, rounds: int | None, seed: int, labels: int) -> float:
    random = np.random.default_rng(seed)
    m, n = pool.worth.shape
    order = random.permutation(m)
    test, learned = order[: round(m * HELD_OUT)], order[round(m * HELD_OUT) :]
    states, worth = pool.states[learned].reshape(len(learned) * n, -1), pool.worth[learned].ravel()
    prompts = np.repeat(np.arange(len(learned)), n)
    within = list(combinations(range(n), 2))
    pairs = np.array([(first + a, first + b) for first in range(0, len(states), n) for a, b in within])
    left = random.permutation(pairs[np.abs(worth[pairs[:, 0]] - worth[pairs[:, 1]]) >= ALIKE])
    errs = dict(zip(map(tuple, left.tolist()), random.random(len(left)) < ERRORS, strict=True))
    asked, head = left[:0], LinearHead.prior(states)
    batch = BATCH if rounds is None else -(-labels // rounds)
    while len(asked) < labels:
        number = min(batch, labels - len(asked))
        picked = np.arange(number)
        if way != RANDOM and len(asked):
            value = CHOOSERS[way](head, states, prompts, left, np.random.default_rng([seed, len(asked)]))
            picked = take(states, left, value, number)
        asked, left = np.concatenate([asked, left[picked]]), np.delete(left, picked, axis=0)
        right = worth[asked[:, 0]] > worth[asked[:, 1]]
        said = right != np.array([errs[tuple(pair)] for pair in asked.tolist()])
        differences = states[asked[:, 0]] - states[asked[:, 1]]
        head = LinearHead.fit(states, differences, said.astype(float), np.ones(len(asked)))
    return float(np.mean([_against_base(head.scores(pool.states[p]), pool.worth[p]) for p in test]))


def _against_base(scores: np.ndarray, worth: np.ndarray) -> float:
    """How often the best of n responses by `scores` (n,) beats another of the base's; alike is half a win."""
    best = int(scores.argmax())
    others = np.delete(worth, best)
    gap = worth[best] - others
    return float(credit(np.where(np.abs(gap) < ALIKE, 0.0, gap)).mean())


def needed(by_size: Mapping[str, Sequence[float]], wanted: float = WANTED) -> float:
    """Labels until the mean win rate is `wanted`, straight between two sizes; inf if it never is."""
    sizes = [int(size) for size in by_size]
    means = [float(np.mean(values)) for values in by_size.values()]
    for (before, low), (size, high) in zip(
        zip([0, *sizes], [0.5, *means], strict=False), zip(sizes, means, strict=True), strict=False
    ):
        if high >= wanted:
            return before + (size - before) * (wanted - low) / max(high - low, 1e-9)
    return float("inf")


def table(results: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Markdown: the win rate at random, and by how much each chooser's is higher, in points, with a 95% interval."""
    sizes = list(results[RANDOM])
    lines = [f"| labels | {' | '.join(sizes)} | until {WANTED:.0%} |", "|---" * (len(sizes) + 2) + "|"]
    for name, by_size in results.items():
        cells = []
        for size in sizes:
            values, chance = 100 * np.array(by_size[size]), 100 * np.array(results[RANDOM][size])
            mean, half = interval(values if name == RANDOM else values - chance)
            cells.append(f"{mean:.1f}% ± {half:.1f}" if name == RANDOM else f"{mean:+.1f} ± {half:.1f}")
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(cells)} | {needed(by_size):.0f} |")
    return "\n".join(lines)


def draw(results: Mapping[str, Mapping[str, Sequence[float]]], path: Path) -> None:
    """Win rate against labels, three rounds left, a refit after every 20 labels right; chance in both."""
    from matplotlib import pyplot

    from benchmarks.rewards.figures import ABOVE, save

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.8), layout="constrained", sharey=True)
    for axis, rounds in zip(axes, list(ROUNDS)[1:], strict=True):
        shown = {name: found for name, found in results.items() if name == RANDOM or name.endswith(rounds)}
        for (name, by_size), colour in zip(shown.items(), COLOURS, strict=False):
            found = np.array([interval(100 * np.array(values)) for values in by_size.values()])
            sizes, label = [int(size) for size in by_size], name.split(",")[0].replace("_", " ")
            axis.plot(sizes, found[:, 0], color=colour, label=label, marker="o", markersize=3)
            if name == RANDOM:
                axis.fill_between(sizes, *(found[:, 0] + s * found[:, 1] for s in (-1, 1)), color=colour, alpha=0.2)
        axis.axhline(100 * WANTED, color="0.7", linewidth=0.8)
        axis.set(xlabel=f"labels, {rounds}", xscale="log", ylim=(48, None))
        axis.set_xticks([20, 50, 100, 200, 500, 1000], ["20", "50", "100", "200", "500", "1000"])
        axis.minorticks_off()
    axes[0].set_ylabel("best-of-n wins over the base, %")
    axes[0].legend(**ABOVE, ncols=2)
    save(figure, path)


if __name__ == "__main__":
    main()
