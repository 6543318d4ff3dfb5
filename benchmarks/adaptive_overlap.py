"""How many labels does asking more people only in doubt save, and is the vote as often right?

On 6,974 forced choices between two sentences by 345 people (Warstadt et al. 2020), about 20 on each of 348 pairs with
an independent gold answer, which scores and is never used otherwise. Each seed puts the people of each pair in an
order; a fixed overlap of k takes the first k of them. The adaptive overlap takes the first, and the next one wherever
the vote is in doubt by the label store's own rule (`labeling_ui/assignment/adaptive_overlap.py`), up to five; skills
are estimated from the votes so far before each step (`labeling_ui/quality/skill.py`). In the end, votes are weighted by
skill in both.

    python benchmarks/adaptive_overlap.py --json adaptive_overlap.json --figure adaptive_overlap.svg
"""

import argparse
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from benchmarks.annotator_quality import DATA, read
from foundation.files import write_json
from labeling_ui.assignment.adaptive_overlap import ASSUMED, overlap_wanted
from labeling_ui.assignment.answer_comparison import Unit
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer
from labeling_ui.quality.skill import Choice, estimate, skill_weights

FIXED, MOST = (1, 3, 5), 5
CONFIDENCES = (0.85, 0.9, 0.95)
_BOOTSTRAP = 2000
Queues = Mapping[Unit, Sequence[Choice]]


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with human_choices.jsonl")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--figure", type=Path, help="where the drawing goes; .svg or .png")
    parser.add_argument("--seeds", type=int, default=10, help="orders of the people of each pair")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    options = parser.parse_args()
    file = options.data / "human_choices.jsonl"
    if not file.is_file():
        sys.exit(f"{file} is not there. Give the folder that holds human_choices.jsonl with --data.")
    start = time.monotonic()
    choices, gold = read(file, checks=False)
    results = {
        "command": " ".join(sys.argv),
        "seeds": options.seeds,
        **measure(choices, gold, options.seeds, options.workers),
    }
    results["seconds"] = round(time.monotonic() - start, 1)
    print(json.dumps(results, indent=1))
    if options.json:
        write_json(options.json, results)
    if options.figure:
        draw(results, options.figure)


def measure(choices: Sequence[Choice], gold: Mapping[Unit, bool], seeds: int, workers: int = 1) -> dict[str, Any]:
    """Votes used for a pair and the share decided as gold, by rule: means over seeds, 95% intervals over pairs.

    Gains are of the adaptive rule over each fixed overlap, on the same pairs and orders.
    """
    with ProcessPoolExecutor(workers) as pool:
        drawn = list(pool.map(partial(one_seed, choices, gold), range(seeds)))
    used = {name: np.array([each[name][0] for each in drawn]) for name in drawn[0]}
    right = {name: np.array([each[name][1] for each in drawn]).mean(axis=0) for name in drawn[0]}
    found: dict[str, Any] = {"pairs": len(gold), "rules": {}}
    for name in used:
        row = {"votes": _mean(used[name].mean(axis=0)), "gold": _mean(right[name])}
        if name.startswith("adaptive"):
            row |= {f"gain over fixed {k}": _mean(right[name] - right[f"fixed {k}"]) for k in FIXED}
            row["pairs with most votes"] = _mean((used[name] == MOST).mean(axis=0))
        found["rules"][name] = row
    return found


def one_seed(
    choices: Sequence[Choice], gold: Mapping[Unit, bool], seed: int
) -> dict[str, tuple[list[int], list[float]]]:
    """By rule: the votes used for each pair, and whether they pick its gold answer."""
    by_unit: dict[Unit, list[Choice]] = defaultdict(list)
    for choice in choices:
        by_unit[choice.unit].append(choice)
    generator = random.Random(seed)
    queues = {unit: generator.sample(by_unit[unit], len(by_unit[unit])) for unit in sorted(by_unit)}
    rules = {f"fixed {k}": {unit: queue[:k] for unit, queue in queues.items()} for k in FIXED}
    rules |= {f"adaptive {level:g}": adaptive(queues, level) for level in CONFIDENCES}
    found = {name: ([len(asked[unit]) for unit in queues], scores(asked, gold)) for name, asked in rules.items()}
    print(f"seed {seed} is done", file=sys.stderr, flush=True)
    return found


def adaptive(queues: Queues, confidence: float) -> dict[Unit, list[Choice]]:
    """Who is asked of each pair if one more is asked at a time wherever the vote is in doubt."""
    campaign = Campaign(overlap=1, max_overlap=MOST, confidence=confidence)
    asked: dict[Unit, list[Choice]] = {unit: list(queue[:1]) for unit, queue in queues.items()}
    for _ in range(MOST - 1):
        skills = estimate([choice for given in asked.values() for choice in given], intervals=False)
        known = {name: skill.accuracy for name, skill in skills.items()}
        for unit, given in asked.items():
            votes = [(_answer(choice), known.get(choice.annotator, ASSUMED)) for choice in given]
            given += queues[unit][len(given) : overlap_wanted(campaign, 1, votes)]
    return asked


def scores(asked: Queues, gold: Mapping[Unit, bool]) -> list[float]:
    """For each pair: 1 where the votes weighted by skill pick the gold answer, one half where they balance, else 0."""
    weights = skill_weights(estimate([choice for given in asked.values() for choice in given], intervals=False))
    found = []
    for unit in sorted(asked):
        total = sum(
            weights.get(choice.annotator, 1.0) * (1 if choice.first == gold[unit] else -1) for choice in asked[unit]
        )
        found.append(0.5 if abs(total) < 1e-9 else float(total > 0))
    return found


def _answer(choice: Choice) -> Answer:
    return Answer("preferred", "first" if choice.first else "second")


def _mean(by_pair: Any) -> dict[str, float]:
    generator = np.random.default_rng(0)
    means = [by_pair[generator.integers(len(by_pair), size=len(by_pair))].mean() for _ in range(_BOOTSTRAP)]
    low, high = np.quantile(means, (0.025, 0.975))
    return {"mean": float(by_pair.mean()), "low": float(low), "high": float(high)}


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Accuracy on gold against votes used, with intervals over pairs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams.update({"svg.hashsalt": "rlhf", "svg.fonttype": "none", "font.size": 9})
    figure, axes = pyplot.subplots(figsize=(5.2, 3.4), layout="constrained")
    for kind, colour, marker, label in (
        ("fixed", "0.45", "o", "fixed overlap"),
        ("adaptive", "#0072b2", "s", "adaptive, by confidence"),
    ):
        rows = {name: row for name, row in results["rules"].items() if name.startswith(kind)}
        x = [row["votes"]["mean"] for row in rows.values()]
        y = [100 * row["gold"]["mean"] for row in rows.values()]
        errors = [
            [100 * abs(row["gold"][end] - row["gold"]["mean"]) for row in rows.values()] for end in ("low", "high")
        ]
        axes.errorbar(x, y, errors, color=colour, marker=marker, markersize=4, capsize=2, linewidth=1, label=label)
        for number, (name, across, up) in enumerate(zip(rows, x, y, strict=True)):
            at = (5, -10) if kind == "fixed" else ((-26, -9), (-20, 0), (5, 3))[number % 3]
            axes.annotate(name.split()[1], (across, up), xytext=at, textcoords="offset points", color=colour)
    axes.set(xlabel="votes used for a pair, mean", ylabel="pairs decided as gold, %")
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
