"""The interface between the policy stage and a reward, and the checks on the scores that a reward returns."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch

from backbone.adapters import SharedBase
from backbone.tokens import Ids
from foundation.errors import UserError


class Scorer(Protocol):
    """Anything that scores responses: a reward model, a programmatic reward, a mixture."""

    def score(self, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> torch.Tensor:
        """One score per response: (n,), fp32, higher is better."""


@runtime_checkable
class Mixture(Scorer, Protocol):
    """A scorer of several parts, each of which is logged by itself, and whose state goes into checkpoints."""

    @property
    def parts(self) -> Mapping[str, Sequence[float]]:
        """By name, the score of each part for each response of the last call."""

    def state(self) -> Any:
        """What the next call depends on, in plain lists, dictionaries and numbers."""

    def restore(self, state: Any) -> None:
        """Continue from that state."""


def checked_scores(
    scorer: Scorer, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids], base: SharedBase
) -> torch.Tensor:
    """The scorer's scores, whatever device they are on: (n,), fp32 constants on the base's device.

    The scorer may be anybody's code. `UserError` if it raises, or if scores are missing or not finite.
    """
    try:
        scores = torch.as_tensor(scorer.score(prompt_ids, response_ids)).detach().float().to(base.device)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the reward failed on {len(response_ids)} responses with {type(error).__name__}: {str(error)[:200]}. "
            "Fix the reward function, and run the command again."
        ) from error
    _check(scores, response_ids, base)
    return scores


def _check(scores: torch.Tensor, response_ids: Sequence[Ids], base: SharedBase) -> None:
    """Refuse scores of the wrong number, or that are not finite, naming the responses."""
    n = len(response_ids)
    if scores.shape != (n,):
        raise UserError(
            f"the scorer returned shape {tuple(scores.shape)} for {n} responses. "
            f"It must return one per response: ({n},)."
        )
    bad = (~scores.isfinite()).nonzero().flatten().tolist()
    if bad:
        shown = "; ".join(f'"{base.renderer.text(response_ids[row])[:80]}"' for row in bad[:3])
        raise UserError(
            f"the score of {len(bad)} of {n} responses is not finite, for instance of: {shown}. Fix the reward "
            "function, or check the reward model (rlhf evaluate-reward) and train it again."
        )
