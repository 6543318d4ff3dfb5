"""Best-of-n: of n sampled responses, the one that the scorer likes best. A policy that nobody trains.

The baseline that every tuned policy has to beat at the same KL: it costs n samples a prompt each time, and its distance
from what it samples is known beforehand (`objectives.best_of_n_kl`). Sampling is `backbone.sampling`'s, and the scorer
is handed in; what n responses are worth on average, for every n at once, is counted here and not sampled again.
"""

import math
from collections.abc import Callable, Sequence

import torch

from backbone.adapters import SharedBase
from backbone.sampling import Sample, SamplingConfig, sample
from backbone.tokens import Ids
from policy.scoring import Scorer, checked_scores


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
    """One response to each prompt: the best of `n` drawn under the active adapter, the first of equals.

    `progress` is told of every response drawn. `UserError` where a score is not finite.
    """
    drawn = sample(base, prompts, sampling, group=n, seed=seed, progress=progress)
    responses = [one.response_ids for one in drawn]
    scores = checked_scores(scorer, [prompts[one.prompt] for one in drawn], responses, base)
    best = scores.view(len(prompts), n).argmax(1).tolist()
    return [drawn[prompt * n + place] for prompt, place in enumerate(best)]


def chances(scores: torch.Tensor, n: int, *, replace: bool = False) -> torch.Tensor:
    """How likely each of N responses is to be the best of `n` of them: (..., N) to (..., N), each row adding up to 1.

    Drawn without replacement, so that `(chances(scores, n) * gold).sum(-1)` is an unbiased estimate of what best-of-n
    is worth: Nakano et al. 2021, appendix I, where a tie is shared evenly. With `replace`, best-of-n as a distribution
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
    """KL(best-of-n || base) in nats where the base is the N scored responses, equally likely: (..., N) to (...).

    Without ties it nears log n - (n - 1)/n as N grows; every tie lowers it.
    """
    kept = chances(scores, n, replace=True)
    return torch.xlogy(kept, kept * scores.shape[-1]).sum(-1)
