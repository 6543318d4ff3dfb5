"""Do choosers need fewer labels than chance? People's labels of published sets, revealed when a chooser asks for them.

A head on the frozen base's states is fitted to what was asked so far, 20 labels at a time, and asked for the next 20.
Its accuracy on prompts that nobody is asked about is held against the same number of labels drawn at random. Each seed
draws other held-out prompts and another order; the differences are paired by seed.

    python benchmarks/label_choice.py --json label_choice.json --figure benchmarks/label_choice.svg

The states are kept beside the results, and what is finished is not run again. Afterwards, the seconds of a refit.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.rewards.published import DATA, SETS, published
from benchmarks.rewards.runs import Runs
from foundation.files import content_id, write_json
from reward_model.acquisition.choosers import CHOOSERS, take
from reward_model.acquisition.linear_head import LinearHead
from reward_model.evaluation.accuracy import credit

BATCH = 20
SIZES = (20, 40, 60, 80, 100, 150, 200, 300, 400)
RANDOM = "random"
NEED_PRIOR = ("thompson", "best_and_worst")  # before any answer they would ask at random anyway
COLOURS = ("0.45", "#0072b2", "#56b4e9", "#d55e00", "#009e73", "#cc79a7")

Figures = dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class Pool:
    """Responses with their states (n, d) and prompts (n,), and judged pairs (m, 2) of places, the preferred first."""

    states: np.ndarray
    prompts: np.ndarray
    pairs: np.ndarray


def main() -> None:
    """Run what is missing, print the tables, and write the figures."""
    options = _options()
    settings = {name: getattr(options, name) for name in ("model", "prompts", "longest")}
    ways = (RANDOM, *CHOOSERS)
    runs = Runs(options.json, settings, len(options.sets) * options.seeds * len(ways))
    results: dict[str, Figures] = {}
    for name in options.sets:
        pool = read_pool(name, options)
        print(f"{name}: {len(pool.pairs)} judged pairs of {len(set(pool.prompts.tolist()))} prompts", flush=True)
        for seed in range(options.seeds):
            for way in ways:
                found = runs.once(f"{name}, {way}, seed {seed}", lambda p=pool, w=way, s=seed: curve(p, w, s))
                figures = results.setdefault(name, {}).setdefault(way, {})
                for size, accuracy in found.items():
                    figures.setdefault(size, []).append(accuracy)
            write_json(options.json, results)
        print(table(results[name]), flush=True)
    print(refit_seconds())
    if options.figure:
        draw(results, options.figure)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("label_choice.json"), help="where the figures go")
    parser.add_argument("--figure", type=Path, help="where the drawing goes; .svg or .png")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the published data")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--prompts", type=int, default=1000, help="of each set, at most so many prompts take part")
    parser.add_argument("--longest", type=int, default=384, help="tokens of prompt and response")
    parser.add_argument("--model", default="demo", help='"demo", a folder, or a hub id')
    return parser.parse_args()


def read_pool(name: str, options: argparse.Namespace) -> Pool:
    """The set's pairs with the base's states, which are kept in a file of their own."""
    from backbone.exactness import load_shared_base
    from reward_model.frozen_states import frozen_states
    from reward_model.labels.comparisons import comparisons
    from reward_model.labels.reading import to_labels
    from reward_model.labels.rendering import rendered

    pairs = comparisons(to_labels(published(name, options.data)))
    kept = sorted({pair.prompt_key for pair in pairs}, key=lambda key: content_id("label choice", key))
    wanted = set(kept[: options.prompts])
    pairs = [pair for pair in pairs if pair.prompt_key in wanted]
    keys = sorted({(pair.prompt_key, text) for pair in pairs for text in pair.responses})
    file = options.json.with_name(f"{options.json.stem}.{name}.{content_id(options.model, options.longest, keys)}.npy")
    if not file.is_file():
        base = load_shared_base(options.model)
        ids = {}
        for pair in pairs:
            prompt, responses, _ = rendered(pair, base.renderer, options.longest)
            ids |= {
                (pair.prompt_key, text): (prompt, each) for text, each in zip(pair.responses, responses, strict=True)
            }
        done = 0

        def show(count: int) -> None:
            nonlocal done
            done += count
            print(f"\r{name}: states of {done} of {len(keys)} responses", end="", file=sys.stderr, flush=True)

        np.save(file, frozen_states(base, [ids[key][0] for key in keys], [ids[key][1] for key in keys], show))
        print(file=sys.stderr)
    place = {key: number for number, key in enumerate(keys)}
    _, prompts = np.unique([key for key, _ in keys], return_inverse=True)
    judged = [(place[pair.prompt_key, pair.chosen], place[pair.prompt_key, pair.rejected]) for pair in pairs]
    return Pool(np.load(file).astype(float), prompts, np.array(judged))


def curve(pool: Pool, way: str, seed: int) -> dict[str, float]:
    """Accuracy on held-out prompts by the number of labels that were asked for."""
    random = np.random.default_rng(seed)
    order = random.permutation(pool.prompts.max() + 1)
    held_out = np.isin(pool.prompts[pool.pairs[:, 0]], order[: len(order) // 4])
    test, left = pool.pairs[held_out], random.permutation(pool.pairs[~held_out])
    used = np.unique(left)
    asked = left[:0]
    head, found = LinearHead.prior(pool.states[used]), {}
    for size in (each for each in SIZES if each <= len(left) + len(asked)):
        while len(asked) < size:
            number = min(BATCH, size - len(asked))
            picked = np.arange(number)
            if way != RANDOM and not (way in NEED_PRIOR and not len(asked)):
                # Which of the two was preferred is not told: worth does not depend on the order within a pair.
                worth = CHOOSERS[way](head, pool.states, pool.prompts, left, np.random.default_rng([seed, len(asked)]))
                picked = take(pool.states, left, worth, number)
            asked, left = np.concatenate([asked, left[picked]]), np.delete(left, picked, axis=0)
            differences = pool.states[asked[:, 0]] - pool.states[asked[:, 1]]
            head = LinearHead.fit(pool.states[used], differences, np.ones(len(asked)), np.ones(len(asked)))
        scores = head.scores(pool.states)
        found[str(size)] = round(float(credit(scores[test[:, 0]] - scores[test[:, 1]]).mean()), 4)
    return found


def table(figures: Figures) -> str:
    """Markdown: accuracy at random, and by how much each chooser is better, in points, with a 95% interval."""
    sizes = list(figures[RANDOM])
    lines = ["| labels | " + " | ".join(sizes) + " |", "|---" * (len(sizes) + 1) + "|"]
    for way, by_size in figures.items():
        cells = []
        for size in sizes:
            values, chance = np.array(by_size[size]), np.array(figures[RANDOM][size])
            mean, half = interval(100 * (values - chance))
            cells.append(f"{100 * values.mean():.1f}%" if way == RANDOM else f"{mean:+.1f} ± {half:.1f}")
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines)


def interval(values: np.ndarray) -> tuple[float, float]:
    """Mean and half width of its 95% interval by Student's t; NaN of a single value."""
    from scipy.stats import t

    if len(values) < 2:
        return float(values.mean()), float("nan")
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(half)


def refit_seconds(labels: int = 1000, tasks: int = 100_000, d: int = 576) -> str:
    """How long a refit on so many labels takes, and the worth of so many tasks after it, with features as they are."""
    random = np.random.default_rng(0)
    states = random.standard_normal((4 * tasks // 3, d)).astype(np.float32)
    pairs = random.integers(len(states), size=(tasks, 2))
    asked, told = pairs[:labels], []
    before = time.perf_counter()
    differences = states[asked[:, 0]] - states[asked[:, 1]]
    chosen = (differences[:, :9].sum(1) > 0).astype(float)
    head = LinearHead.fit(states, differences, chosen, np.ones(labels))
    told.append(f"a refit on {labels:,} labels takes {time.perf_counter() - before:.2f} s")
    for way in ("d_optimal", "thompson"):
        before = time.perf_counter()
        CHOOSERS[way](head, states, np.arange(len(states)) // 4, pairs, random)
        told.append(f"the worth of {tasks:,} tasks by {way} {time.perf_counter() - before:.1f} s")
    return f"With {len(states):,} responses of {d} features, {', '.join(told)}."


def draw(results: Mapping[str, Figures], path: Path) -> None:
    """Curves of every set, with the 95% interval of the mean over seeds."""
    from matplotlib import pyplot

    from benchmarks.rewards.figures import ABOVE, save

    figure, axes = pyplot.subplots(1, len(results), figsize=(3.6 * len(results), 3.6), layout="constrained")
    for axis, (name, figures) in zip(np.atleast_1d(axes), results.items(), strict=True):
        for (way, by_size), colour in zip(figures.items(), COLOURS, strict=False):
            _line(axis, by_size, way.replace("_", " "), colour)
        axis.set(xlabel=f"labels of {name}", ylabel="right on held-out pairs, %", xscale="log", ylim=(50, None))
        axis.set_xticks([20, 50, 100, 200, 400], ["20", "50", "100", "200", "400"])
        axis.minorticks_off()
    np.atleast_1d(axes)[0].legend(**ABOVE, ncols=2)
    save(figure, path)


def _line(axis: Any, by_size: Mapping[str, Sequence[float]], label: str, colour: str) -> None:
    sizes = [int(size) for size in by_size]
    found = [interval(100 * np.array(values)) for values in by_size.values()]
    means, halves = np.array(found).T
    axis.plot(sizes, means, color=colour, label=label, marker="o", markersize=3)
    if label == RANDOM:
        axis.fill_between(sizes, means - halves, means + halves, color=colour, alpha=0.2, linewidth=0)


if __name__ == "__main__":
    main()
