"""Does skill that is estimated without known answers say who is right, and do votes weighted by it beat a majority?

On 6,974 forced choices between two sentences by 345 people (Warstadt et al. 2020), about 20 on each of 348 pairs with
an independent gold answer. The gold answers score, and never estimate. What is weighed is what the label store computes
(`labeling_ui/quality/skill.py`):

- all votes: Spearman's correlation of estimated skill with accuracy on gold (bootstrap over annotators), and the share
  of pairs on which the votes, weighted or each counted once, pick the gold answer (a tie is one half)
- k votes a pair, drawn anew with each seed, weighted by skills from
    these votes    the same k votes a pair, and nothing else: a small campaign
    and checks     these votes, and the 1,744 attention checks as tasks with a known answer
    other pairs    all votes on the other half of the pairs: annotators whose work is known

    python benchmarks/annotator_quality.py --json annotator_quality.json --figure annotator_quality.svg
"""

import argparse
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from foundation.files import write_json
from labeling_ui.assignment.answer_comparison import Unit
from labeling_ui.quality.agreement import krippendorff
from labeling_ui.quality.intervals import share
from labeling_ui.quality.skill import Choice, estimate, skill_weights

DATA = Path(__file__).parents[2] / "shared" / "data" / "blimp_human_choices"
WEIGHTED = {"these votes": ("#0072b2", "s"), "and checks": ("#009e73", "D"), "other pairs": ("#d55e00", "^")}


def main() -> None:
    """Measure, print, and write the figures."""
    options = _options()
    file = options.data / "human_choices.jsonl" if options.data.is_dir() else options.data
    if not file.is_file():
        sys.exit(f"{file} is not there. Give the folder that holds human_choices.jsonl with --data.")
    start = time.monotonic()
    choices, gold = read(file, checks=False)
    checks, known = read(file, checks=True)
    results = {
        "command": " ".join(sys.argv),
        "choices": len(choices),
        "annotators": len({choice.annotator for choice in choices}),
        "pairs": len(gold),
        **whole(choices, gold),
        "votes": subsampled(choices, gold, checks, known, options.votes, options.seeds),
        "seeds": options.seeds,
    }
    results["seconds"] = round(time.monotonic() - start, 1)
    print(json.dumps(results, indent=1))
    if options.json:
        write_json(options.json, results)
    if options.figure:
        draw(results, options.figure)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with human_choices.jsonl")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--figure", type=Path, help="where the drawing goes; .svg or .png")
    parser.add_argument("--seeds", type=int, default=50, help="subsamples for each number of votes")
    parser.add_argument("--votes", type=int, nargs="+", default=[2, 3, 4, 5, 7, 10, 15], help="votes a pair")
    return parser.parse_args()


def read(file: Path, checks: bool) -> tuple[list[Choice], dict[Unit, bool]]:
    """The choices (or the attention checks alone), and for each pair whether the first sentence is the right one."""
    choices, gold = [], {}
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["attention_check"] == checks:
            unit = (row["uid"], row["s1"], row["s2"])
            choices.append(Choice(row["annotator"], unit, row["choice"] == 1))
            gold[unit] = row["gold"] == 1
    return choices, gold


def whole(choices: Sequence[Choice], gold: Mapping[Unit, bool]) -> dict[str, Any]:
    """Agreement, the correlation of skill with accuracy, and both ways to count votes, on everything."""
    skills = estimate(choices)
    right = defaultdict(list)
    for choice in choices:
        right[choice.annotator].append(choice.first == gold[choice.unit])
    weight = skill_weights(skills)
    majority = _scores(choices, gold, [1.0] * len(choices))
    weighted = _scores(choices, gold, [weight[choice.annotator] for choice in choices])
    said: dict[Unit, dict[str, int]] = defaultdict(dict)
    for choice in choices:
        said["|".join(choice.unit),][choice.annotator] = int(choice.first)
    agreed = krippendorff(said)
    return {
        "alpha": agreed.alpha,
        "alpha_interval": [agreed.low, agreed.high],
        "spearman": {
            name: _correlation(
                [(skills[a].accuracy, float(np.mean(own))) for a, own in right.items() if len(own) >= least]
            )
            for name, least in (("all", 1), ("10 choices or more", 10), ("50 choices or more", 50))
        },
        "in_interval": _covered(
            [(skills[a].low, np.mean(own), skills[a].high) for a, own in right.items() if len(own) >= 50]
        ),
        "majority": _share(majority),
        "weighted": _share(weighted),
        "weighted_right_majority_wrong": sum(w > m for w, m in zip(weighted, majority, strict=True)),
        "majority_right_weighted_wrong": sum(w < m for w, m in zip(weighted, majority, strict=True)),
        "weights": [round(float(q), 3) for q in np.quantile(list(weight.values()), (0, 0.1, 0.5, 0.9, 1))],
    }


def subsampled(
    choices: Sequence[Choice],
    gold: Mapping[Unit, bool],
    checks: Sequence[Choice],
    known: Mapping[Unit, bool],
    votes: Sequence[int],
    seeds: int,
) -> dict[str, dict[str, Any]]:
    """For each number of votes: shares of pairs decided rightly, mean over seeds, and each gain over the majority.

    A gain's `low` and `high` are its 95% bootstrap interval over pairs, each with all its subsamples.
    """
    by_unit: dict[Unit, list[Choice]] = defaultdict(list)
    for choice in choices:
        by_unit[choice.unit].append(choice)
    units = sorted(by_unit)
    scores: dict[int, dict[str, list[list[float]]]] = {k: defaultdict(list) for k in votes}
    for seed in range(seeds):
        generator = random.Random(seed)
        half = set(generator.sample(units, len(units) // 2))
        halves = [[choice for choice in choices if (choice.unit in half) == within] for within in (False, True)]
        learnt = [skill_weights(estimate(of_half)) for of_half in halves]
        for k in votes:
            drawn = [choice for unit in units for choice in generator.sample(by_unit[unit], k)]
            here = skill_weights(estimate(drawn))
            checked = skill_weights(estimate([*drawn, *checks], known))
            counted = {
                "majority": [1.0] * len(drawn),
                "these votes": [here[choice.annotator] for choice in drawn],
                "and checks": [checked[choice.annotator] for choice in drawn],
                # A pair in the half is weighed by what the other half taught, and the other way round.
                "other pairs": [learnt[choice.unit not in half].get(choice.annotator, 1.0) for choice in drawn],
            }
            for name, weight in counted.items():
                scores[k][name].append(_scores(drawn, gold, weight))
        print(f"seed {seed + 1} of {seeds}", file=sys.stderr, flush=True)
    return {str(k): _gains(scores[k]) for k in votes}


def _gains(scores: Mapping[str, list[list[float]]]) -> dict[str, Any]:
    found: dict[str, Any] = {name: float(np.mean(each)) for name, each in scores.items()}
    for name in WEIGHTED:
        by_pair = (np.array(scores[name]) - np.array(scores["majority"])).mean(axis=0)
        generator = np.random.default_rng(0)
        means = [by_pair[generator.integers(len(by_pair), size=len(by_pair))].mean() for _ in range(2000)]
        low, high = np.quantile(means, (0.025, 0.975))
        found[f"{name}, gain"] = {"mean": float(by_pair.mean()), "low": float(low), "high": float(high)}
    return found


def _scores(choices: Sequence[Choice], gold: Mapping[Unit, bool], weight: Sequence[float]) -> list[float]:
    """For each pair, in order: 1 where the weighted votes pick the gold answer, one half where they balance, else 0."""
    totals: dict[Unit, float] = defaultdict(float)
    for choice, counts in zip(choices, weight, strict=True):
        totals[choice.unit] += counts if choice.first == gold[choice.unit] else -counts
    return [0.5 if abs(totals[unit]) < 1e-9 else float(totals[unit] > 0) for unit in sorted(totals)]


def _correlation(points: Sequence[tuple[float, float]]) -> dict[str, Any]:
    both = np.array(points)
    generator = np.random.default_rng(0)
    draws = [spearmanr(both[generator.integers(len(both), size=len(both))]).statistic for _ in range(2000)]
    low, high = np.quantile(draws, (0.025, 0.975))
    return {"rho": float(spearmanr(both).statistic), "low": float(low), "high": float(high), "annotators": len(both)}


def _covered(intervals: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    inside = sum(low <= value <= high for low, value, high in intervals)
    return {"annotators": len(intervals), "accuracy_in_interval": int(inside)}


def _share(cases: Sequence[float]) -> dict[str, Any]:
    found = share(cases)
    return {"value": found.value, "low": found.low, "high": found.high}


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Accuracy on gold against votes a pair, and the gain over the majority with its interval."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams.update({"svg.hashsalt": "rlhf", "svg.fonttype": "none", "font.size": 9})
    votes = [int(k) for k in results["votes"]]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8.5, 3.4), layout="constrained")
    labels = {
        "these votes": "skill from these votes",
        "and checks": "... and checks",
        "other pairs": "skill from other pairs",
    }
    for name, (colour, marker) in {"majority": ("0.45", "o"), **WEIGHTED}.items():
        label = labels.get(name, name)
        shares = [100 * results["votes"][str(k)][name] for k in votes]
        left.plot(votes, shares, color=colour, marker=marker, markersize=4, label=label)
    left.set(xlabel="votes a pair", ylabel="pairs decided as gold, %", xticks=votes)
    left.legend(frameon=False)
    for shift, (name, (colour, marker)) in zip((-0.2, 0, 0.2), WEIGHTED.items(), strict=True):
        gains = [results["votes"][str(k)][f"{name}, gain"] for k in votes]
        means = [100 * gain["mean"] for gain in gains]
        errors = [[100 * (g["mean"] - g["low"]) for g in gains], [100 * (g["high"] - g["mean"]) for g in gains]]
        at = [k + shift for k in votes]
        right.errorbar(at, means, errors, color=colour, marker=marker, markersize=4, capsize=2, linestyle="none")
    right.axhline(0, color="0.45", linewidth=0.8)
    right.set(xlabel="votes a pair", ylabel="gain over the majority, percentage points", xticks=votes)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
