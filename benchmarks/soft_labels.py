"""What soft labels and weights are worth, and whether ratings and rankings teach the same order as pairs.

Simulated annotators with a known hidden preference label through the label store; nothing here is a human judgement.

- a mixed crowd (careful and hasty annotators, one who guesses, one who answers the opposite) gives three votes on each
  pair; once most of the crowd is of use, once only half of it. Three reward models learn from the votes of each crowd:
  raw majority as hard labels, the share of the votes as soft labels, and soft labels and rows weighed by skill as the
  label store estimates it from the same votes
- careful annotators label the same responses as all pairs of four, as rankings of four, and as single ratings: one
  reward model each

All are judged on the same held-out questions, without any noise: the share of the clearly different responses that they
put in the true order, and how far the orders of two models agree (Kendall's tau within questions).

    python benchmarks/soft_labels.py --json soft_labels.json --figure docs/figures/soft-labels.svg
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from benchmarks.rewards.figures import draw_soft_labels
from benchmarks.rewards.published import DATA, Row
from benchmarks.rewards.resampling import interval
from benchmarks.rewards.runs import Runs
from benchmarks.rewards.simulated import Question, clean_pairs, pair_rows, questions, rows_of_kind, share_right
from foundation.files import write_json
from reward_model.config import RewardConfig
from reward_model.evaluation.accuracy import credit
from reward_model.scorer import RewardScorer
from reward_model.training.train import train_reward

Arm = tuple[str, str]
"""Who labelled, and what was made of it."""
CROWDS: dict[str, tuple[float, ...]] = {"five": (4, 2, 1, 0, -2), "four": (2, 1, 0, -2)}
"""Annotators by their skills: one guesses, one says the opposite, and the others are three or two."""
VOTES = ("majority", "votes", "weighed")
KINDS = ("pairs", "rankings", "ratings")
ARMS: tuple[Arm, ...] = (*((crowd, arm) for crowd in CROWDS for arm in VOTES), *(("careful", kind) for kind in KINDS))


def main() -> None:
    """Train every arm with every seed, and write the figures."""
    options = _options()
    kept = ("model", "questions", "ranked", "test", "overlap", "set")
    runs = Runs(options.json, {key: getattr(options, key) for key in kept}, options.seeds * len(ARMS))
    seeds = []
    for seed in range(options.seeds):
        asked = questions(options.data, options.test + options.questions, seed)
        test, train = asked[: options.test], asked[options.test :]
        rows = {("careful", kind): rows_of_kind(train[: options.ranked], kind, seed) for kind in KINDS}
        for crowd, skills in CROWDS.items():
            votes = pair_rows(train, seed, options.overlap, 3, skills)
            rows |= {(crowd, arm): found for arm, found in votes.items()}
        one = {
            arm: runs.once(f"seed {seed}, {': '.join(arm)}", partial(_train, arm, rows[arm], test, seed, options))
            for arm in ARMS
        }
        seeds.append((test, one))
        results = _figures(seeds)
        write_json(options.json, results)
        print(json.dumps(results, indent=1), flush=True)
    if options.figure:
        draw_soft_labels(results, options.figure)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("soft_labels.json"), help="where the figures go")
    parser.add_argument("--figure", type=Path, help="where the drawing goes")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the published data")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--questions", type=int, default=50, help="to learn from, three pairs each")
    parser.add_argument("--ranked", type=int, default=40, help="of these, labelled as pairs, rankings and ratings")
    parser.add_argument("--test", type=int, default=60, help="held-out questions")
    parser.add_argument("--overlap", type=int, default=3, help="votes on each pair")
    parser.add_argument("--model", default="demo", help='"demo", a folder, or a hub id')
    parser.add_argument("--set", action="append", default=["margin=false"], metavar="FIELD=VALUE",
                        help="a setting of the training")  # fmt: skip
    return parser.parse_args()


def _train(
    arm: Arm, rows: list[Row], test: Sequence[Question], seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """One reward model: its scores of the held-out responses, in order."""

    def show(row: Row) -> None:
        print(f"\r{': '.join(arm)}: step {row['step']}/{row['steps']}", end="", file=sys.stderr, flush=True)

    config = RewardConfig.model_validate(dict(entry.split("=", 1) for entry in options.set))
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        train_reward(config, options.model, rows, folder, seed=seed, held_out=clean_pairs(test)[:1], on_step=show)
        seconds = time.monotonic() - start
        print(file=sys.stderr)
        scorer = RewardScorer.load(folder)
        renderer = scorer.base.renderer
        asked = [(one.prompt.messages, response.response) for one in test for response in one.responses]
        prompts = [renderer.prompt_ids(messages) for messages, _ in asked]
        scores = scorer.score(prompts, [renderer.response_ids(text) for _, text in asked])
    found: dict[str, Any] = {"rows": len(rows), "seconds": seconds, "scores": scores.tolist()}
    return found | ({"right_labels": share_right(rows)} if arm[0] in CROWDS else {})


def _figures(seeds: Sequence[tuple[Sequence[Question], Mapping[Arm, Any]]]) -> dict[str, Any]:
    """Accuracies by arm over all seeds, the gains over the majority, and how far the kinds of label agree."""
    prompts: list[str] = []
    differences: dict[Arm, list[np.ndarray]] = {arm: [] for arm in ARMS}
    by_seed: dict[Arm, list[float]] = {arm: [] for arm in ARMS}
    for test, one in seeds:
        pairs = [
            (question.prompt.id, better.id, worse.id) for question in test for better, worse in question.clear_pairs()
        ]
        prompts += [prompt for prompt, _, _ in pairs]
        for arm, found in one.items():
            ids = [response.id for question in test for response in question.responses]
            score = dict(zip(ids, found["scores"], strict=True))
            differences[arm].append(np.array([score[better] - score[worse] for _, better, worse in pairs]))
            by_seed[arm].append(float(credit(differences[arm][-1]).mean()))
    pooled = {arm: np.concatenate(found) for arm, found in differences.items()}
    right = {arm: credit(found) for arm, found in pooled.items()}
    accuracies = {
        arm: {
            "accuracy": _mean(right[arm], prompts),
            "by_seed": by_seed[arm],
            "rows": [one[arm]["rows"] for _, one in seeds],
        }
        for arm in ARMS
    }
    labels = {
        crowd: {
            arm: {
                **accuracies[crowd, arm],
                "right_labels": float(np.mean([one[crowd, arm]["right_labels"] for _, one in seeds])),
                "gain_over_majority": _mean(right[crowd, arm] - right[crowd, "majority"], prompts),
            }
            for arm in VOTES
        }
        for crowd in CROWDS
    }
    orders = {kind: np.sign(pooled["careful", kind]) for kind in KINDS}
    kinds = {
        kind: {
            **accuracies["careful", kind],
            "tau_with_pairs": _mean(orders[kind] * orders["pairs"], prompts),
            "tau_with_truth": _mean(orders[kind], prompts),
        }
        for kind in KINDS
    }
    return {"votes": labels, "kinds": kinds, "seeds": len(seeds), "judged_pairs": len(prompts)}


def _mean(values: np.ndarray, prompts: Sequence[str]) -> dict[str, float]:
    low, high = interval(values, prompts)
    return {"value": float(values.mean()), "low": low, "high": high}


if __name__ == "__main__":
    main()
