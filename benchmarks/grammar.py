"""Do grammar scores tell the good sentence of a minimal pair from the bad one?

Two sets of pairs, each pair a sentence and the same with one fault:

- BLiMP (Warstadt et al. 2020): 348 pairs with an independent gold answer, by phenomenon; subtle syntax
- slips: the first human summary of scientific abstracts, and the same with a slip of the pen (a doubled word, a wrong
  article, two letters swapped, ...), by kind of slip; made here, from a seed

Three scores: `errors` is the reward as it is by default (Harper's errors in 100 words), `base` the mean log-probability
of a token under the frozen base, `both` their sum (`acceptability: 1`). A pair with equal scores counts one half, as a
coin would have it; `decided` is the share of pairs with different ones.

    python benchmarks/grammar.py --json grammar.json --figure grammar.svg
"""

import argparse
import json
import random
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backbone.adapters import SharedBase
from backbone.exactness import load_shared_base
from foundation.files import read_jsonl, write_json
from foundation.intervals import clustered_share_interval
from reward_model.rewards.registry import build

DATA = Path(__file__).parents[2] / "shared" / "data"
SCORES = {"errors": ("#0072b2", "o"), "base": ("#d55e00", "s"), "both": ("#009e73", "^")}
# BLiMP's fields of grammar, by what its paradigms' names begin with or hold.
PHENOMENA = {
    "anaphor agreement": "anaphor",
    "argument structure": "animate_subject|causative|drop_argument|inchoative|intransitive|passive|transitive",
    "binding": "principle_A",
    "control and raising": "raising",
    "determiner-noun agreement": "determiner_noun",
    "ellipsis": "ellipsis",
    "filler-gap": "wh_(questions|vs)",
    "irregular forms": "irregular_past",
    "island effects": "island|coordinate_structure|left_branch",
    "negative polarity": "npi",
    "quantifiers": "quantifiers",
    "subject-verb agreement": "subject_verb|distractor_agreement",
}
Pair = tuple[str, str, str]


def main() -> None:
    """Measure, print, and write the figures."""
    options = _options()
    start = time.monotonic()
    base = load_shared_base(options.model)
    sets = {"blimp": blimp(options.blimp), "slips": slips(options.summaries, options.pairs, options.seed)}
    results: dict[str, Any] = {"command": " ".join(sys.argv), "model": options.model, "seed": options.seed}
    for name, pairs in sets.items():
        scored = scores(base, pairs)
        groups = {"all": list(range(len(pairs)))}
        for row, (group, _, _) in enumerate(pairs):
            groups.setdefault(group, []).append(row)
        results[name] = {
            group: {
                "n": len(rows),
                **{
                    each: measured([scored[each][row] for row in rows], [pairs[row][1] for row in rows])
                    for each in SCORES
                },
            }
            for group, rows in groups.items()
        }
    results["seconds"] = round(time.monotonic() - start, 1)
    print(json.dumps(results, indent=1))
    if options.json:
        write_json(options.json, results)
    if options.figure:
        draw(results, options.figure)


def scores(base: SharedBase, pairs: Sequence[Pair]) -> dict[str, list[float]]:
    """For each score, the good sentence's less the bad one's."""
    texts = list(dict.fromkeys(text for pair in pairs for text in pair[1:]))
    found = {}
    for name, spec in (("errors", {}), ("base", {"kinds": {}, "acceptability": 1})):
        reward = build({"name": "grammar", **spec}, base=base)
        values = dict(zip(texts, reward(prompts=[""] * len(texts), completions=texts), strict=True))
        found[name] = [values[good] - values[bad] for _, good, bad in pairs]
    found["both"] = [sum(each) for each in zip(found["errors"], found["base"], strict=True)]
    return found


def measured(differences: Sequence[float], sentences: Sequence[str]) -> dict[str, float]:
    """Share right with its 95% interval (Wilson, over sentences), equal scores one half; and the share that differ."""
    right = np.array([0.5 if d == 0 else float(d > 0) for d in differences])
    low, high = clustered_share_interval(right, sentences)
    return {
        "accuracy": round(float(right.mean()), 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "decided": round(sum(d != 0 for d in differences) / len(differences), 4),
    }


def blimp(path: Path) -> list[Pair]:
    """(phenomenon, good, bad) of the distinct pairs that people judged."""
    pairs: dict[Pair, None] = {}
    for _, row in read_jsonl(path):
        if not row["attention_check"]:
            good, bad = (row["s1"], row["s2"]) if row["gold"] == 1 else (row["s2"], row["s1"])
            pairs[(_phenomenon(row["uid"]), good, bad)] = None
    return list(pairs)


def _phenomenon(paradigm: str) -> str:
    return next((name for name, pattern in PHENOMENA.items() if re.search(pattern, paradigm)), "other")


def slips(path: Path, count: int, seed: int) -> list[Pair]:
    """(kind, good, bad): each kind of slip made once in a sentence that allows it, up to `count` sentences a kind."""
    draw_ = random.Random(seed)
    made: dict[str, list[Pair]] = defaultdict(list)
    for _, row in read_jsonl(path):
        good = " ".join(row["target"][0].split())
        for kind, slip in SLIPS.items():
            bad = slip(good, draw_)
            if bad not in (None, good) and len(made[kind]) < count:
                made[kind].append((kind, good, str(bad)))
    return [pair for pairs in made.values() for pair in pairs]


def _swap(pattern: str, other: Callable[[re.Match[str]], str]) -> Callable[[str, random.Random], str | None]:
    """A slip at one random match of `pattern`, which becomes what `other` says; None where there is no match."""

    def slip(text: str, draw_: random.Random) -> str | None:
        places = list(re.finditer(pattern, text))
        if not places:
            return None
        place = draw_.choice(places)
        return text[: place.start()] + other(place) + text[place.end() :]

    return slip


_AGREE: Mapping[str, str] = {"is": "are", "are": "is", "has": "have", "have": "has", "was": "were", "were": "was"}
SLIPS: Mapping[str, Callable[[str, random.Random], str | None]] = {
    "doubled word": _swap(r"\b(the|of|to|in|and|that)\b", lambda m: f"{m[0]} {m[0]}"),
    "wrong article": _swap(r"\b(a|an)\b(?= [a-z])", lambda m: "an" if m[0] == "a" else "a"),
    "swapped letters": _swap(r"\b[a-z]{6,}\b", lambda m: m[0][:2] + m[0][3] + m[0][2] + m[0][4:]),
    "verb of other number": _swap(r"\b(is|are|has|have|was|were)\b", lambda m: _AGREE[m[0]]),
    "verb after we": _swap(r"\b([Ww]e) (show|propose|introduce|present|study|use)\b", lambda m: f"{m[1]} {m[2]}s"),
    "missing article": _swap(r"\b(a|an|the) (?=[a-z])", lambda m: ""),
}


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Accuracy with its interval, by phenomenon and by kind of slip."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 5), constrained_layout=True)
    for axis, name, title in zip(axes, ("blimp", "slips"), ("BLiMP, by phenomenon", "slips, by kind"), strict=True):
        groups = ["all", *sorted(group for group in results[name] if group != "all")]
        for shift, (score, (colour, marker)) in enumerate(SCORES.items()):
            rows = [results[name][group][score] for group in groups]
            centre = [row["accuracy"] for row in rows]
            ends = [[row["accuracy"] - row["low"] for row in rows], [row["high"] - row["accuracy"] for row in rows]]
            places = [-row + 0.22 * (1 - shift) for row in range(len(groups))]
            axis.errorbar(centre, places, xerr=ends, fmt=marker, color=colour, label=score, ms=5, lw=1)
        axis.set_yticks([-row for row in range(len(groups))])
        axis.set_yticklabels([f"{group} ({results[name][group]['n']})" for group in groups])
        axis.axvline(0.5, color="grey", lw=0.8, ls="--")
        axis.set(title=title, xlabel="share right, 95% interval; dashed: chance", xlim=(0, 1.02))
    axes[1].legend(loc="lower left")
    figure.savefig(path)
    plt.close(figure)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blimp", type=Path, default=DATA / "blimp_human_choices" / "human_choices.jsonl")
    parser.add_argument("--summaries", type=Path, default=DATA / "scitldr_abstract" / "test.jsonl")
    parser.add_argument("--pairs", type=int, default=100, help="most pairs of each kind of slip")
    parser.add_argument("--model", default="demo", help='"demo", a folder, or a hub id')
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--figure", type=Path, help="where the drawing goes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
