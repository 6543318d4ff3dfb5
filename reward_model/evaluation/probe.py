"""Fit a linear probe on the labels; and the likelihood by which it or a trained adapter is the reward model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import log_expit
from sklearn.model_selection import GroupKFold
from torch import Tensor

from backbone.adapters import SharedBase
from reward_model.acquisition.linear_head import LinearHead
from reward_model.evaluation.calibration import cross_fitted
from reward_model.evaluation.score_differences import Measured
from reward_model.frozen_states import probed, states_of
from reward_model.labels.records import Pair
from reward_model.uncertainty import Laplace

MOST = 2000  # training pairs it is fitted on: more hardly help it, and an adapter is better with so many labels
_FOLDS = 5
_WIDEST = 4096  # numbers, of what a probe with a posterior sees: its decomposition takes minutes beyond


@dataclass(frozen=True)
class PairStates:
    """`pairs`, and what `states_of` says of their responses, the preferred one first: (pairs, 2, 3, d)."""

    pairs: Sequence[Pair]
    states: Tensor

    @classmethod
    def of(
        cls,
        base: SharedBase,
        pairs: Sequence[Pair],
        longest: int,
        on_batch: Callable[[int], None] = lambda responses: None,
        *,
        final_of: Sequence[Pair] | None = None,
    ) -> "PairStates":
        """Compute each response once, rendered and cut to `longest` tokens; final states `final_of` these alone."""
        renderer = base.renderer
        prompts = {pair.prompt_key: renderer.unbounded.prompt_ids(pair.prompt) for pair in pairs}
        keys = sorted({(pair.prompt_key, text) for pair in pairs for text in pair.responses})
        whole = (
            set(keys) if final_of is None else {(each.prompt_key, text) for each in final_of for text in each.responses}
        )
        place = {key: number for number, key in enumerate(keys)}
        states = torch.zeros(len(keys), 3, base.hidden_size)
        for final in (True, False):
            wanted = [key for key in keys if (key in whole) == final]
            rows = [
                renderer.fit(prompts[key], renderer.completed(renderer.response_ids(text)), longest)[:2]
                for key, text in wanted
            ]
            found = states_of(base, [prompt for prompt, _ in rows], [said for _, said in rows], on_batch, final=final)
            states[[place[key] for key in wanted]] = found
        chosen = [place[pair.prompt_key, text] for pair in pairs for text in pair.responses]
        return cls(pairs, states[chosen].view(len(pairs), 2, 3, -1))

    def first(self, count: int) -> "PairStates":
        """Of so many pairs."""
        return PairStates(self.pairs[:count], self.states[:count])

    def rest(self, count: int) -> "PairStates":
        """Of all but the first so many."""
        return PairStates(self.pairs[count:], self.states[count:])

    def of_first(self, most: int) -> "PairStates":
        """Of at most so many pairs, those of one prompt together: see `gate.of_first_prompts`."""
        places = sorted(range(len(self.pairs)), key=lambda place: self.pairs[place].prompt_key)[:most]
        return PairStates([self.pairs[place] for place in places], self.states[places])

    def differences(self, features: Tensor) -> np.ndarray:
        """Of features (pairs, 2, d), the preferred less the other: (pairs, d)."""
        return np.asarray((features[:, 0] - features[:, 1]).double())

    @property
    def final(self) -> Tensor:
        """Final states of the last tokens, where they were asked for: (pairs, 2, d)."""
        return self.states[:, :, 0]

    @property
    def probed(self) -> Tensor:
        """What a probe sees: (pairs, 2, 2d)."""
        return probed(self.states.flatten(0, 1)).view(len(self.pairs), 2, -1)

    def measured(self, probe: Tensor) -> Measured:
        """What the probe says of these pairs."""
        scores = (self.probed @ probe).double()
        differences = scores[:, 0] - scores[:, 1]
        return Measured(differences.numpy(), self.probed[:, 0] - self.probed[:, 1], float(scores.mean()))


def fit_head(features: Tensor, pairs: Sequence[Pair]) -> Tensor:
    """A head (d,) on features (pairs, 2, d), the preferred first: Bradley and Terry 1952 with a Gaussian prior.

    A pair's weight counts relative to their mean, and a share of the votes as that share: see `LinearHead.fit`.
    """
    both = features.double().numpy()
    weights = np.array([pair.weight for pair in pairs])
    preferred = np.array([pair.p_chosen for pair in pairs])
    head = LinearHead.fit(
        both.reshape(-1, both.shape[-1]), both[:, 0] - both[:, 1], preferred, weights / weights.mean()
    )
    return torch.from_numpy(head.weights / head.scale).float()


def fit_posterior(learned: PairStates, probe: Tensor) -> Laplace | None:
    """How sure the probe is after these pairs; None if it is too wide for that."""
    if len(probe) > _WIDEST:
        return None
    weights = torch.tensor([pair.weight for pair in learned.pairs])
    features = learned.probed
    return Laplace.fit(features[:, 0] - features[:, 1], probe, weights / weights.mean())


def picked(one: np.ndarray, other: np.ndarray, pairs: Sequence[Pair]) -> np.ndarray:
    """Score differences (pairs,) of whichever of two models is likelier on the pairs of other conversations.

    Each in units of its own size. What is better by chance on some pairs is thus not measured on the same ones: of the
    better of two that know nothing, half is right. That of `one` where there is a single conversation.
    """
    models = [each / (float(np.sqrt((each**2).mean())) or 1.0) for each in (one, other)]
    groups, found = np.array([pair.conversation_key for pair in pairs]), models[0].copy()
    folds = min(_FOLDS, len(set(groups)))
    if folds < 2:
        return found
    for fit, judged in GroupKFold(folds).split(found, groups=groups):
        some = [pairs[place] for place in fit]
        better = max(models, key=lambda model: log_likelihood(model[fit], some))
        found[judged] = better[judged]
    return found


def log_likelihood(differences: np.ndarray, pairs: Sequence[Pair]) -> float:
    """Of held-out preferences under score differences (pairs,), in nats a pair; -0.693 is chance.

    Each over a temperature that was fitted on the pairs of other conversations: what counts is what the scores know,
    and not their unit.
    """
    logits = cross_fitted(differences, [pair.conversation_key for pair in pairs])
    preferred, weights = np.array([pair.p_chosen for pair in pairs]), np.array([pair.weight for pair in pairs])
    each = preferred * log_expit(logits) + (1 - preferred) * log_expit(-logits)
    return float((weights * each).sum() / weights.sum())
