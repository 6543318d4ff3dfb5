"""Whether somebody's choices go with the others' as little as a guesser's would, and how unlikely that is by chance.

A permutation test: if all are equally good, an annotator's answers are a random draw from the tasks, and in each of
them from the answers given. Skill (`skill.py`) says how good somebody is; this says whether there is cause to ask.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from scipy.special import expit, logit

from labeling_ui.assignment.answer_comparison import Unit
from labeling_ui.quality.skill import Choice

_DRAWS = 20_000
_LEAST, _MOST = 0.55, 0.95  # the pool's accuracy for the scores of the test, which any value keeps valid


def guessing(choices: Sequence[Choice], known: Mapping[Unit, bool]) -> dict[str, float]:
    """P values by annotator: of agreeing as little with the others and the `known` answers if one is as good as they.

    The statistic is the likelihood ratio of "as good as the others" over "guesses" (Neyman and Pearson 1933), at the
    accuracy that the pool's agreement shows. 1 for whoever agrees more like the others than like a guesser: to be worse
    than very good others is not to guess.
    """
    votes: dict[Unit, list[Choice]] = defaultdict(list)
    for choice in choices:
        votes[choice.unit].append(choice)
    accuracy = _accuracy(votes, known)
    # score[stratum][task][annotator]; tasks of a stratum have a known answer, or equally many voters.
    score: dict[Hashable, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(float)))
    agreed: dict[str, float] = defaultdict(float)
    for unit, given in votes.items():
        if unit not in known and len(given) < 2:
            continue
        stratum = "known" if unit in known else len(given)
        for choice, margin in zip(given, margins(given, known), strict=True):
            right = float(margin > 0) if unit in known else float(expit(margin * logit(accuracy)))
            likely = right * accuracy + (1 - right) * (1 - accuracy)
            score[stratum][unit[0]][choice.annotator] += choice.share * float(np.log(2 * likely))
            agreed[choice.annotator] += choice.share * (right - 0.5)
    return _p_values(score, agreed)


def margins(choices: Sequence[Choice], known: Mapping[Unit, bool]) -> list[int]:
    """By how many votes the others, or a known answer by one, are for each choice; below 0 against it."""
    total: dict[Unit, int] = defaultdict(int)
    for choice in choices:
        total[choice.unit] += 1 if choice.first else -1
    found = []
    for choice in choices:
        own = 1 if choice.first else -1
        if choice.unit in known:
            found.append(1 if known[choice.unit] == choice.first else -1)
        else:
            found.append(own * (total[choice.unit] - own))
    return found


def _accuracy(votes: Mapping[Unit, Sequence[Choice]], known: Mapping[Unit, bool]) -> float:
    """s, of equally good annotators who agree in s² + (1 − s)² of all pairs of choices, and with known answers in s."""
    pairs = agreeing = 0
    for unit, given in votes.items():
        first = sum(choice.first for choice in given)
        others = len(given) - first
        if unit not in known:
            pairs += len(given) * (len(given) - 1) // 2
            agreeing += (first * (first - 1) + others * (others - 1)) // 2
    against = [choice.first == known[unit] for unit, given in votes.items() if unit in known for choice in given]
    of_pairs = 0.5 + 0.5 * max(0.0, 2 * agreeing / pairs - 1) ** 0.5 if pairs else 0.0
    found = (of_pairs * pairs + sum(against)) / (pairs + len(against)) if pairs or against else _LEAST
    return min(_MOST, max(_LEAST, found))


def _p_values(
    score: Mapping[Hashable, Mapping[str, Mapping[str, float]]], agreed: Mapping[str, float]
) -> dict[str, float]:
    patterns = {
        stratum: Counter(tuple(sorted(round(value, 9) for value in task.values())) for task in tasks.values())
        for stratum, tasks in score.items()
    }
    answered: dict[str, Counter[Hashable]] = defaultdict(Counter)
    own: dict[str, float] = defaultdict(float)
    for stratum, tasks in score.items():
        for task in tasks.values():
            for annotator, value in task.items():
                answered[annotator][stratum] += 1
                own[annotator] += value
    mean = {stratum: _mean_and_variance(of) for stratum, of in patterns.items()}
    total, number = sum(agreed.values()), sum(sum(each.values()) for each in answered.values())
    generator, found = np.random.default_rng(0), {}
    for annotator, times in sorted(answered.items()):
        n = sum(times.values())
        expected = sum(mean[stratum][0] * count for stratum, count in times.items())
        spread = sum(mean[stratum][1] * count for stratum, count in times.items()) ** 0.5
        like_a_guesser = agreed[annotator] / n < total / number / 2
        if like_a_guesser and own[annotator] < expected - spread:  # far from 5% otherwise: not worth the draws
            drawn = sum(_drawn(patterns[stratum], count, generator) for stratum, count in times.items())
            found[annotator] = (1 + int(np.count_nonzero(drawn <= own[annotator] + 1e-6))) / (1 + _DRAWS)
        else:
            found[annotator] = 1.0
    return found


def _mean_and_variance(patterns: Mapping[tuple[float, ...], int]) -> tuple[float, float]:
    values = np.array([np.mean(pattern) for pattern in patterns])
    squares = np.array([np.mean(np.square(pattern)) for pattern in patterns])
    weights = np.array(list(patterns.values())) / sum(patterns.values())
    return float(values @ weights), float(squares @ weights - (values @ weights) ** 2)


def _drawn(patterns: Mapping[tuple[float, ...], int], count: int, generator: np.random.Generator) -> np.ndarray:
    """Sums of the scores of `count` tasks, drawn without putting back, of one voter each: (draws,)."""
    of_pattern = generator.multivariate_hypergeometric(list(patterns.values()), count, size=_DRAWS)
    sums = np.zeros(_DRAWS)
    for pattern, times in zip(patterns, of_pattern.T, strict=True):
        values, voters = np.unique(pattern, return_counts=True)
        sums += generator.multinomial(times, voters / len(pattern)) @ values
    return sums
