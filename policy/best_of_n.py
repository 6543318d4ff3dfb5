"""Best-of-n: of n sampled responses, the one with the highest score. A policy without training.

It is the baseline that every tuned policy has to beat at the same KL. It costs n samples per prompt each time, and its
KL from the policy that it samples is known beforehand (`algorithms.kl.best_of_n_kl`). The expected value of best-of-n
is computed here for every n from the same samples.
"""

import math
from collections.abc import Callable, Sequence

import torch

from backbone.adapters import SharedBase
from backbone.sampling import Sample, sample
from backbone.sampling_config import SamplingConfig
from backbone.tokens import Ids
from policy.scorer_protocol import Scorer, checked_scores


def best_of_n(
    base: SharedBase,
    scorer: Scorer,
    prompts: Sequence[Ids],
    sampling: SamplingConfig,
    n: int,
    *,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[Sample]:
    """One response to each prompt: the best of `n` drawn under the active adapter, the first if several are equal.

    `progress` is called with the number of responses drawn. `UserError` if a score is not finite.
    """
    drawn = sample(base, prompts, sampling, group=n, seed=seed, progress=progress)
    responses = [one.response_ids for one in drawn]
    scores = checked_scores(scorer, [prompts[one.prompt] for one in drawn], responses, base)
    best = scores.view(len(prompts), n).argmax(1).tolist()
    return [drawn[prompt * n + place] for prompt, place in enumerate(best)]


def chances(scores: torch.Tensor, n: int, *, replace: bool = False) -> torch.Tensor:
    """The probability of each of N responses to be the best of `n` of them: (..., N) to (..., N), rows sum to 1.

    Drawn without replacement, so that `(chances(scores, n) * gold).sum(-1)` is an unbiased estimate of the value of
    best-of-n (Nakano et al. 2021, appendix I); ties are shared evenly. With `replace`, best-of-n as a distribution
    over the N responses.
    """
    count = scores.shape[-1]
    if n < 1 or (n > count and not replace):
        raise ValueError(f"the best of {n} cannot be told from {count} responses")
    ranked = range(count + 1)  # how likely the best is among the k lowest
    lowest = [(k / count) ** n if replace else math.comb(k, n) / math.comb(count, n) for k in ranked]
    cumulative = torch.tensor(lowest, dtype=torch.float64, device=scores.device)
    below = (scores[..., None, :] < scores[..., :, None]).sum(-1)
    up_to = (scores[..., None, :] <= scores[..., :, None]).sum(-1)
    return (cumulative[up_to] - cumulative[below]) / (up_to - below)


def measured_kl(scores: torch.Tensor, n: int) -> torch.Tensor:
    """KL(best-of-n || base) in nats, where the base is the N scored responses, equally likely: (..., N) to (...).

    Without ties it nears log n - (n - 1)/n as N grows; every tie lowers it.
    """
    kept = chances(scores, n, replace=True)
    return torch.xlogy(kept, kept * scores.shape[-1]).sum(-1)
