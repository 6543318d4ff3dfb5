"""Which labels are learned from and measured on, checked before a model is loaded."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from foundation.errors import UserError
from reward_model.config import RewardConfig
from reward_model.labels.comparisons import comparisons
from reward_model.labels.reading import to_labels
from reward_model.labels.records import OVERALL, Label, Pair, Ranking, Rating, Row
from reward_model.labels.splits import check_disjoint, held_out_conversations, split_by_conversation


@dataclass(frozen=True)
class Selection:
    """Labels to learn from, to choose the epoch by, and pairs to measure on; no conversation is in two of them."""

    train: Sequence[Label]
    validation: Sequence[Label]
    test: Sequence[Pair]

    @property
    def pairs(self) -> list[Pair]:
        """What the training labels say of two responses, as pairs."""
        return comparisons(_overall(self.train))

    def counts(self) -> dict[str, int]:
        """How many training labels of each kind; `contradictions` are two responses that were judged both ways."""
        kinds = Counter(_kind(label) for label in self.train)
        sides = {(pair.prompt_key, pair.chosen, pair.rejected) for pair in self.pairs}
        both = sum((prompt, worse, better) in sides for prompt, better, worse in sides) // 2
        return {
            **{f"training_{kind}": kinds[kind] for kind in ("pairs", "ties", "rankings", "ratings")},
            "contradictions": both,
        }


def select(config: RewardConfig, rows: Sequence[Row], seed: int, held_out: Sequence[Row] | None = None) -> Selection:
    """Split by conversation, and keep what the settings ask for; `held_out` rows replace the split.

    `UserError` if nothing can be learned or measured: no labels, too few prompts, only ties, only one response to
    each prompt, an aspect that nobody rated.
    """
    if not rows:
        raise UserError(
            "there are no preferences to learn from. Collect some with `rlhf label`, or bring existing ones with "
            "`rlhf import --format FORMAT FILE`, then run the command again."
        )
    everything = _wanted(config, to_labels(rows))
    if not comparisons(_overall(everything)):
        raise UserError(_why_nothing(everything))
    train, test = (rows, held_out) if held_out is not None else split_by_conversation(rows, config.held_out, seed)
    check_disjoint(train, test)
    learned = _wanted(config, to_labels(train))
    selection = Selection(learned, (), comparisons(_overall(_wanted(config, to_labels(test)))))
    if not selection.pairs:
        raise UserError(f"of the prompts to train on, {_why_nothing(learned)}")
    if _cancel(selection.pairs):
        raise UserError(
            "of every two responses one was preferred as often as the other: the labels say nothing about which is "
            "better. Get more of them, by `rlhf label`, say."
        )
    if not selection.test:
        raise UserError(
            "no held-out prompt has two responses of which one was preferred, so accuracy cannot be measured. "
            "Label more prompts, or raise reward.held_out."
        )
    if config.patience is None:
        return selection
    kept = _validation_conversations(learned, config.validation, seed + 1)
    parts: tuple[list[Label], list[Label]] = ([], [])
    for label in learned:
        parts[label.conversation_key in kept].append(label)
    return replace(selection, train=parts[0], validation=parts[1])


def _validation_conversations(labels: Sequence[Label], share: float, seed: int) -> set[str]:
    """Which conversations the epoch is chosen by: none whose labels need a parameter that no other label would fit."""
    kept = held_out_conversations([label.conversation_key for label in labels], share, seed)
    needs: dict[str, set[object]] = defaultdict(set)
    for label in labels:
        needs[label.conversation_key] |= _parameters(label)
    fitted = set[object]().union(*(needs[key] for key in needs.keys() - kept))
    for key in sorted(kept):
        if not needs[key] <= fitted:
            kept.remove(key)
            fitted |= needs[key]
    if not kept:
        raise UserError(
            "no prompt can be left out to choose the epoch by (reward.validation): each has the only labels of an "
            "aspect or a scale. Label more prompts, or set reward.patience=null."
        )
    return kept


def _parameters(label: Label) -> set[object]:
    """What is fitted to such labels alone: its aspect's head, thresholds on its scale, how common ties are."""
    found: set[object] = {(label.aspect,)}
    if isinstance(label, Rating):
        found.add((label.aspect, label.scale))
    if isinstance(label, Pair) and label.p_tie:
        found.add("ties")
    return found


def _wanted(config: RewardConfig, labels: Sequence[Label]) -> list[Label]:
    if config.aspects is not None:
        rated = {label.aspect for label in labels}
        unknown = sorted(set(config.aspects) - rated - {"overall"})
        if unknown:
            known = ", ".join(sorted(aspect or "overall" for aspect in rated)) or "nothing"
            raise UserError(
                f'nobody rated the aspect "{unknown[0]}" (reward.aspects); rated: {known}. '
                "Correct the name, or have it rated."
            )
        wanted = {OVERALL, *config.aspects}
        labels = [label for label in labels if label.aspect in wanted]
    found = (_simplified(config, label) for label in labels if label.weight > 0)
    return [label for label in found if label is not None]


def _simplified(config: RewardConfig, label: Label) -> Label | None:
    """The label with only as much detail as the settings ask for; None if that leaves nothing."""
    if not config.weights:
        label = replace(label, weight=1.0)
    if not isinstance(label, Pair):
        return label
    if not config.ties:
        voted = 1 - label.p_tie
        if voted < 1e-9:
            return None
        weight = label.weight * voted if config.weights else label.weight  # who found them equal adds none to a side
        label = replace(label, p_chosen=(label.p_chosen - label.p_tie / 2) / voted, p_tie=0.0, weight=weight)
    if not config.soft_labels:
        if not label.decided:
            return None
        if math.isclose(label.p_chosen, 0.5, abs_tol=1e-9):
            return replace(label, p_chosen=0.5, p_tie=1.0) if label.p_tie else None
        label = replace(label, p_chosen=float(label.p_chosen > 0.5), p_tie=0.0)
    return label if config.margin else replace(label, margin=0.0)


def _overall(labels: Sequence[Label]) -> list[Label]:
    """Those that the overall score is about: labels of no one aspect if there are any, else all."""
    return [label for label in labels if label.aspect == OVERALL] or list(labels)


def _cancel(pairs: Sequence[Pair]) -> bool:
    """Whether contradictions leave nothing: their gradients would cancel, and every score stay zero."""
    balance: dict[tuple[str, ...], float] = defaultdict(float)
    for pair in pairs:
        first, second = sorted(pair.responses)
        sign = 1 if pair.chosen == first else -1
        balance[pair.aspect, pair.prompt_key, first, second] += sign * pair.weight * (2 * pair.p_chosen - 1)
    return all(abs(left) < 1e-9 for left in balance.values())


def _kind(label: Label) -> str:
    if isinstance(label, Pair):
        return "ties" if math.isclose(label.p_chosen, 0.5, abs_tol=1e-9) else "pairs"
    return "rankings" if isinstance(label, Ranking) else "ratings"


def _why_nothing(labels: Sequence[Label]) -> str:
    if labels and all(isinstance(label, Rating) for label in labels):
        return (
            "no prompt has two responses that were rated differently: there is nothing to learn from. "
            "Rate several responses to a prompt."
        )
    if labels:
        return (
            "every comparison is a tie: nothing says which response is better, so there is nothing to learn from. "
            "Get more labels, by `rlhf label`, say."
        )
    return "no label has a weight above 0 and an aspect that is asked for: there is nothing to learn from."
