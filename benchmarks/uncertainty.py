"""Is a reward model's uncertainty real, what does it cost beside an ensemble, and does it say what to label next?

One reward model a member, on the same mixed training pairs of all data sets, with another seed (first weights and the
order of the pairs). On held-out pairs of other prompts:

- each member's own Laplace posterior sorts the pairs by how sure their preference is (`preference_probability`); the
  errors in the most and the least uncertain fifth are means over the members. Beside it, the same by the bare
  standard deviation of the difference, and by the bare size of the difference, which needs no posterior
- the rank correlation of Laplace's standard deviation of a difference with that of the members' differences
- seconds and bytes of either: a posterior is one pass over the training pairs and one file beside a single model, an
  ensemble is all members but the first

Choosing labels is measured on heads over the untouched base's features, fitted anew after each batch of labels
(`rewards/selection.py`): honest for a head, and no statement about adapters.

    python benchmarks/uncertainty.py --json uncertainty.json --figure docs/figures/uncertainty.svg
"""

import argparse
import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from scipy.stats import spearmanr

from backbone.adapters import SharedBase
from backbone.batching import by_length
from backbone.exactness import load_shared_base
from backbone.tokens import pad_right
from benchmarks.rewards import selection
from benchmarks.rewards.figures import draw_uncertainty
from benchmarks.rewards.published import DATA, SETS, Row, parts, published
from benchmarks.rewards.resampling import resampled
from benchmarks.rewards.runs import Runs
from foundation.files import write_json
from reward_model.config import RewardConfig
from reward_model.evaluation.accuracy import credit
from reward_model.evaluation.score_differences import measure
from reward_model.labels.reading import to_pairs
from reward_model.labels.rendering import rendered
from reward_model.scorer import RewardScorer
from reward_model.training.train import train_reward
from reward_model.uncertainty import FILE, preference_probability

FIFTHS = 5


def main() -> None:
    """Train, measure, and write the figures."""
    options = _options()
    names = options.pairs or list(SETS)
    each = (options.limit // len(names), options.test // len(names))
    found = [
        parts(published(name, options.data), options.model, options.longest, 0.6, each, options.seed) for name in names
    ]
    train, test = ([row for one in found for row in one[part]] for part in (0, 1))
    of_set = [name.partition("=")[0] for name, one in zip(names, found, strict=True) for _ in one[1]]
    kept = ("model", "limit", "test", "longest", "seed", "labels", "repeats", "set")
    runs = Runs(options.json, {key: getattr(options, key) for key in kept} | {"pairs": names}, options.members + 1)
    members = [
        runs.once(f"member {number}", partial(_member, number, train, test, options))
        for number in range(options.members)
    ]
    chosen = runs.once("selection", partial(_selection, [*train, *test], options))
    results = {**_errors(members, test, of_set), **_beside_ensemble(members), "selection": chosen}
    results |= {"training_pairs": len(train), "n": len(test), "members": len(members)}
    write_json(options.json, results)
    if options.figure:
        draw_uncertainty(results, members, options.figure)
    print(json.dumps(results, indent=1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("uncertainty.json"), help="where the figures go")
    parser.add_argument("--figure", type=Path, help="where the drawing goes")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the published data")
    which = f"{', '.join(SETS)}, or a name of yours for a file of preferences; may be repeated"
    parser.add_argument("--pairs", action="append", metavar="NAME[=FILE]", help=which)
    parser.add_argument("--members", type=int, default=3, help="reward models, two or more")
    parser.add_argument("--limit", type=int, default=480, help="pairs to train on, of all data sets together")
    parser.add_argument("--test", type=int, default=450, help="pairs to judge on, likewise")
    parser.add_argument("--longest", type=int, default=256, help="tokens of the longest side that takes part")
    parser.add_argument("--labels", type=int, nargs="+", default=[30, 60, 90, 120, 180, 240, 300, 360])
    parser.add_argument("--repeats", type=int, default=20, help="of choosing labels")
    parser.add_argument("--seed", type=int, default=0, help="of the split")
    parser.add_argument("--model", default="demo", help='"demo", a folder, or a hub id')
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a setting of the training")
    return parser.parse_args()


def _member(number: int, train: list[Row], test: list[Row], options: argparse.Namespace) -> dict[str, Any]:
    """One reward model: its differences on the held-out pairs, their variances, and what it cost."""

    def show(row: Row) -> None:
        print(f"\rmember {number}: step {row['step']}/{row['steps']}", end="", file=sys.stderr, flush=True)

    config = RewardConfig.model_validate(dict(entry.split("=", 1) for entry in options.set))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        figures = train_reward(config, options.model, train, folder, seed=number, held_out=test[:1], on_step=show)
        print(file=sys.stderr)
        scorer = RewardScorer.load(folder)
        measured = measure(scorer, to_pairs(test))
        assert scorer.posterior is not None
        return {
            "seconds": figures["seconds"],
            "uncertainty_seconds": figures["uncertainty_seconds"],
            "bytes": os.path.getsize(folder / "adapter_model.safetensors"),
            "uncertainty_bytes": os.path.getsize(folder / FILE),
            "differences": measured.differences.tolist(),
            "variances": scorer.posterior.variance(measured.features).tolist(),
        }


def _errors(members: list[dict[str, Any]], test: list[Row], of_set: list[str]) -> dict[str, Any]:
    """Errors by certainty, means over the members, the ratio of the outer fifths bootstrapped over conversations."""
    differences = np.array([member["differences"] for member in members])
    variances = np.array([member["variances"] for member in members])
    wrong = 1 - credit(differences)
    forecast = preference_probability(torch.from_numpy(differences), torch.from_numpy(variances)).numpy()
    times = resampled([pair.conversation_key for pair in to_pairs(test)])
    by = {
        "forecast": _by_certainty(wrong, np.abs(forecast - 0.5), times),
        "standard deviation": _by_certainty(wrong, -variances, times),
        "size of the difference": _by_certainty(wrong, np.abs(differences), times),
    }
    agreed = 1 / (1 + np.exp(-differences))
    by["ensemble's mean forecast"] = _by_certainty(
        1 - credit(agreed.mean(0, keepdims=True) - 0.5), np.abs(agreed.mean(0, keepdims=True) - 0.5), times
    )
    sets = sorted(set(of_set))
    return {
        "error_most_uncertain": by["forecast"]["errors"][0],
        "error_least_uncertain": by["forecast"]["errors"][-1],
        "by": by,
        "accuracy": float(1 - wrong.mean()),
        "accuracy_by_data_set": {name: float(1 - wrong[:, np.array(of_set) == name].mean()) for name in sets},
    }


def _by_certainty(wrong: np.ndarray, certainty: np.ndarray, times: np.ndarray) -> dict[str, Any]:
    """From (members, pairs): errors by fifth, least certain first, and the ratio of the first to the last.

    `times` (draws, pairs) are bootstrap samples; each keeps the fifths as they are.
    """
    place = np.argsort(np.argsort(certainty, axis=1, kind="stable"), axis=1)
    fifth = place * FIFTHS // certainty.shape[1]
    counted = (
        [((fifth == part) * wrong).sum(0) for part in range(FIFTHS)],
        [(fifth == part).sum(0) for part in range(FIFTHS)],
    )
    errors = [float(one.sum() / all_.sum()) for one, all_ in zip(*counted, strict=True)]
    drawn = [(times @ one) / np.maximum(times @ all_, 1) for one, all_ in zip(*counted, strict=True)]
    low, high = np.quantile(drawn[0] / np.maximum(drawn[-1], 1e-9), (0.025, 0.975))
    intervals = [np.quantile(each, (0.025, 0.975)).tolist() for each in drawn]
    ratio = errors[0] / errors[-1] if errors[-1] else None
    return {
        "errors": errors,
        "intervals": intervals,
        "ratio": ratio,
        "ratio_low": float(low),
        "ratio_high": float(high),
    }


def _beside_ensemble(members: list[dict[str, Any]]) -> dict[str, Any]:
    """Whether both are unsure of the same pairs, and the cost of either."""
    spread = np.std([member["differences"] for member in members], axis=0, ddof=1)
    ranks = [float(spearmanr(np.sqrt(member["variances"]), spread).statistic) for member in members]
    return {
        "rank_correlation": float(np.mean(ranks)),
        "rank_correlation_by_member": ranks,
        "laplace": {
            "seconds": float(np.mean([member["uncertainty_seconds"] for member in members])),
            "bytes": members[0]["uncertainty_bytes"],
        },
        "ensemble": {
            "seconds": sum(member["seconds"] for member in members[1:]),
            "bytes": sum(member["bytes"] for member in members[1:]),
        },
    }


def _selection(rows: list[Row], options: argparse.Namespace) -> dict[str, Any]:
    """Curves of accuracy against labels on the base's own features, scaled alike."""
    base = load_shared_base(options.model)
    both = [rendered(pair, base.renderer, sys.maxsize) for pair in to_pairs(rows)]
    chosen, rejected = (_features(base, [[*prompt, *two[side]] for prompt, two, _ in both]) for side in (0, 1))
    differences = (chosen - rejected) / torch.cat([chosen, rejected]).std(0).clamp(min=1e-6)
    differences = differences / differences.norm(dim=1).mean()
    prompts = [pair.conversation_key for pair in to_pairs(rows)]
    counts = [count for count in options.labels if count <= len(rows) // 2]
    return selection.summary(selection.curves(differences.double(), prompts, counts, options.repeats), counts)


@torch.no_grad()
def _features(base: SharedBase, sequences: list[list[int]], batch: int = 8) -> torch.Tensor:
    """The base's final hidden state of the last token of each sequence: (n, d)."""
    found = torch.zeros(len(sequences), base.hidden_size)
    for these in by_length([len(each) for each in sequences], most_rows=batch):
        ids, mask = pad_right([sequences[i] for i in these], base.renderer.pad_id)
        states = base.hidden_states(ids.to(base.device), mask.to(base.device))
        found[these] = states[torch.arange(len(these)), mask.sum(1) - 1].float().cpu()
    return found


if __name__ == "__main__":
    main()
