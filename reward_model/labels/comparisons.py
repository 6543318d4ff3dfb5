"""Labels of every kind as comparisons of two responses, to measure a reward model on."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from reward_model.labels.records import Label, Message, Pair, Ranking, Rating


def comparisons(labels: Sequence[Label]) -> list[Pair]:
    """Which of two responses to one prompt the labels prefer, over all aspects: the pairs to measure a reward model on.

    A ranking gives every two responses in different places, sharing its weight; ratings every two responses whose mean
    differs, each rating counted on a scale of 0 to 1, less its annotator's mean. Ties, and pairs that people split on,
    give none.
    """
    pairs = []
    for label in labels:
        if isinstance(label, Pair):
            if not label.decided:
                continue
            if label.p_chosen > 0.5:
                pairs.append(label)
            elif label.p_chosen < 0.5:
                pairs.append(swapped(label))
        elif isinstance(label, Ranking):
            places = sorted(zip(label.ranks, label.responses, strict=True), key=lambda place: place[0])
            weight = label.weight / math.comb(len(places), 2)
            pairs += [
                Pair(label.prompt, better, worse, weight=weight, aspect=label.aspect)
                for (rank, better), (below, worse) in combinations(places, 2)
                if rank < below
            ]
    return pairs + _rated_pairs([label for label in labels if isinstance(label, Rating)])


def swapped(pair: Pair) -> Pair:
    """The same said of the two in the other order."""
    return replace(
        pair, chosen=pair.rejected, rejected=pair.chosen, margin=-pair.margin, p_chosen=1 - pair.p_chosen
    )  # fmt: skip


def _rated_pairs(ratings: Sequence[Rating]) -> list[Pair]:
    given: dict[str, list[float]] = defaultdict(list)
    for rating in ratings:
        given[rating.annotator].append(_on_unit_scale(rating))
    usual = {annotator: math.fsum(values) / len(values) for annotator, values in given.items()}
    found: dict[tuple[Message, ...] | str, dict[str, list[tuple[float, float]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    prompts = {}
    for rating in ratings:
        prompts[rating.prompt_key] = rating.prompt
        value = _on_unit_scale(rating) - usual[rating.annotator]
        found[rating.prompt_key][rating.response].append((rating.weight, value))
    pairs = []
    for key, responses in found.items():
        means = {
            text: math.fsum(w * value for w, value in values) / (math.fsum(w for w, _ in values) or 1.0)
            for text, values in responses.items()
        }
        for one, other in combinations(means, 2):
            if abs(means[one] - means[other]) > 1e-9:
                better, worse = (one, other) if means[one] > means[other] else (other, one)
                pairs.append(Pair(prompts[str(key)], better, worse))
    return pairs


def _on_unit_scale(rating: Rating) -> float:
    return (rating.score - 1) / (rating.scale - 1)
