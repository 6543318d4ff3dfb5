"""How often do notices accuse without cause, and how often is a guesser found?

Simulated campaigns of 20 annotators with 30 answers each to pairs, two or three to a pair. Honest ones are right with
the same probability; "mixed" ones each with their own, spread evenly from 65 to 85%. A campaign counts as falsely
accusing if all are honest and any notice is shown; a guesser takes the place of one, and is found if named as such.
Seconds are never too short, sides are random. What is run is what the admin page runs.

"best" is what no test of guessing can exceed that gives each of 20 annotators an equal part of the 5%: the most
powerful one (Neyman and Pearson 1933), told how good the others are and that they are equally good. "told" knows the
right answer to every pair, too.

    python benchmarks/notices.py --campaigns 500
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from scipy.stats import multinomial

from labeling_ui.quality.doubts import corrected, doubts_of
from labeling_ui.quality.guessing import guessing, margins
from labeling_ui.quality.intervals import trend
from labeling_ui.quality.skill import Choice

ANNOTATORS, ANSWERS, SURE = 20, 30, 0.05
CROWDS = {"65%": [0.65], "75%": [0.75], "85%": [0.85], "mixed": np.linspace(0.65, 0.85, ANNOTATORS).tolist()}


def main() -> None:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--campaigns", type=int, default=500, help="campaigns for each figure")
    campaigns = parser.parse_args().campaigns
    print(f"{'overlap':>7} {'honest':>7} {'any false notice':>17} {'guesser found':>14} {'best':>6} {'told':>6}")
    for overlap in (2, 3):
        for name, skills in CROWDS.items():
            row = simulate(skills, overlap, campaigns)
            best = [f"{power(skills[0], overlap, truth):.0%}" if len(skills) == 1 else "" for truth in (False, True)]
            print(
                f"{overlap:>7} {name:>7} {row['false']:>17.1%} {row['found']:>14.1%} {best[0]:>6} {best[1]:>6}",
                flush=True,
            )
            print(json.dumps({"overlap": overlap, "honest": name, **row}), file=sys.stderr)


def simulate(skills: list[float], overlap: int, campaigns: int, seed: int = 0) -> dict[str, float]:
    """Shares of campaigns: `false`, with any notice where all are honest, and `found`, with the one guesser named."""
    generator = np.random.default_rng(seed)
    honest = np.resize(skills, ANNOTATORS)
    false = found = 0
    for _ in range(campaigns):
        shown = _doubts(honest, overlap, generator)
        false += any(p_value < SURE for own in shown.values() for p_value in own.values())
        guesser = int(generator.integers(ANNOTATORS))
        shown = _doubts(np.where(np.arange(ANNOTATORS) == guesser, 0.5, honest), overlap, generator)
        found += shown[str(guesser)].get("guessing", 1.0) < SURE
    return {"false": false / campaigns, "found": found / campaigns, "campaigns": campaigns}


def _doubts(skills: np.ndarray, overlap: int, generator: np.random.Generator) -> dict[str, dict[str, float]]:
    tasks = ANNOTATORS * ANSWERS // overlap
    # In each round everybody answers `overlap` tasks, which are dealt by turning a shuffled circle of annotators.
    rounds = [generator.permutation(ANNOTATORS) for _ in range(tasks // ANNOTATORS)]
    judged = np.concatenate([np.stack([np.roll(each, turn) for turn in range(overlap)], 1) for each in rounds])
    first = generator.random(tasks) < 0.5
    right = generator.random(judged.shape) < skills[judged]
    choices = [
        Choice(str(annotator), (f"{task:04}",), bool(right[task, place] == first[task]))
        for task in range(tasks)
        for place, annotator in enumerate(judged[task])
    ]
    guess, borne_out = guessing(choices, {}), {str(number): [] for number in range(ANNOTATORS)}
    for choice, margin in zip(choices, margins(choices, {}), strict=True):
        if margin != 0:
            borne_out[choice.annotator].append(margin > 0)
    return corrected(
        {
            name: doubts_of((generator.random(ANSWERS) < 0.5).tolist(), [False] * ANSWERS, trend(hits), guess.get(name))
            for name, hits in borne_out.items()
        }
    )


def power(skill: float, overlap: int, truth: bool = False) -> float:
    """Of the most powerful test at 5% over the annotators, that whoever gave `ANSWERS` answers guesses."""
    others = 1 if truth else overlap - 1
    other = 1.0 if truth else skill
    votes = np.arange(others + 1)
    mass = np.array([multinomial.pmf([k, others - k], others, [other, 1 - other]) for k in votes])
    honest = skill * mass + (1 - skill) * mass[::-1]  # of k of the others agreeing
    guesses = (mass + mass[::-1]) / 2
    counts = np.array(list(_compositions(ANSWERS, others + 1)))
    under, over = (multinomial.pmf(counts, ANSWERS, p) for p in (honest, guesses))
    order = np.argsort(-over / np.maximum(under, 1e-300), kind="stable")
    spent = np.cumsum(under[order])
    whole = spent <= SURE / ANNOTATORS
    at = int(whole.sum())
    rest = (SURE / ANNOTATORS - (spent[at - 1] if at else 0.0)) / under[order][at]  # tossed for on the border
    return float(over[order][whole].sum() + rest * over[order][at])


def _compositions(total: int, parts: int) -> list[list[int]]:
    if parts == 1:
        return [[total]]
    return [[head, *tail] for head in range(total + 1) for tail in _compositions(total - head, parts - 1)]


if __name__ == "__main__":
    main()
