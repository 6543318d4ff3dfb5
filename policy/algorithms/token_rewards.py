"""From scores to the reward of every token: where the KL penalty enters the reward."""

import torch


def token_rewards(
    scores: torch.Tensor,
    kl: torch.Tensor,
    mask: torch.Tensor,
    finished: torch.Tensor,
    *,
    kl_coefficient: float,
    missing_eos_penalty: float = 0.0,
    score_clip: float | None = None,
    length_penalty: float = 0.0,
) -> torch.Tensor:
    """Minus `kl_coefficient` times the KL and minus `length_penalty` at each token, plus the score at the last: (n, T).

    scores: (n,); finished: (n,) bool. The score is clipped to +-`score_clip`, and an unfinished response loses
    `missing_eos_penalty`. Ziegler et al. 2019, eq. 2; Stiennon et al. 2020, section 3.4.
    """
    final = scores if score_clip is None else scores.clamp(-score_clip, score_clip)
    final = final - missing_eos_penalty * (~finished).to(final.dtype)
    rewards = -kl_coefficient * kl * mask
    if length_penalty:
        rewards = rewards - length_penalty * mask
    last = mask.sum(1).long() - 1
    return rewards.index_put((torch.arange(len(last), device=last.device), last), final, accumulate=True)
