"""A language model as the policy of the text environment, and the environment as the scorer of the native loop.

`act` writes one text token by token from what the environment shows: what a policy is, step by step. Training is
batched instead: a text depends on nothing but its tokens, so the native loop samples whole batches by itself, and
`EnvironmentScorer` replays them in the environment, which pays the same rewards:

    train_policy(config, base, EnvironmentScorer(env), env_prompts(env), folder, seed=0)

The environment needs a tokenizer as its vocabulary, the base's own, and prompts that are conversations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from backbone.adapters import SharedBase
from backbone.sampling_config import SamplingConfig
from backbone.token_draws import check_drawn, draw, uniforms
from backbone.tokens import Ids
from foundation.errors import UserError
from policy.textbook.environment import TextGenerationEnv


@dataclass(frozen=True)
class Trajectory:
    """One episode: the text's tokens, the log-probability of each when it was chosen, and what each was paid."""

    prompt_ids: list[int]
    response_ids: list[int]
    logprobs: list[float]
    rewards: list[float]
    finished: bool


@torch.no_grad()
def act(
    base: SharedBase, env: TextGenerationEnv, sampling: SamplingConfig, *, prompt: int, seed: int, row: int = 0
) -> Trajectory:
    """Write an answer to the environment's prompt number `prompt` with the base's active adapter, token by token.

    The random numbers are those of `sampling.sample` for the same seed and row, and therefore so is the text; how
    long it may become, the environment says. `UserError` if it is to end at a stop text: the environment would go on.
    """
    if sampling.stop:
        raise UserError("the text environment knows no stop texts: a text ends at the EOS or its longest length.")
    seen, info = env.reset(options={"prompt": prompt})
    stream = uniforms(seed, row, env.task.max_length)
    prompt_ids = _ids(seen)
    tokens: list[int] = []
    logprobs: list[float] = []
    rewards: list[float] = []
    over = False
    while not over:
        ids = torch.tensor([_ids(seen)], device=base.device)
        logits = base.lm_head(base.hidden_states(ids, torch.ones_like(ids))[:, -1]).float()
        uniform = stream[[len(tokens)]].to(base.device)
        token, logprob = draw(logits, uniform, sampling.temperature, sampling.top_p, sampling.top_k)
        check_drawn([float(logprob)])
        seen, reward, over, _, info = env.step(int(token))
        tokens.append(int(token))
        logprobs.append(float(logprob))
        rewards.append(reward)
    return Trajectory(prompt_ids, tokens, logprobs, rewards, info["finish_reason"] == "eos")


def replay(env: TextGenerationEnv, prompt: int, response_ids: Ids) -> list[float]:
    """The reward of each token of a text in the environment; `UserError` if the text does not end as one there."""
    env.reset(options={"prompt": prompt})
    rewards: list[float] = []
    over = False
    for token in response_ids:
        if over:
            break
        _, reward, over, _, _ = env.step(int(token))
        rewards.append(reward)
    if not over or len(rewards) < len(response_ids):
        found = f"ended after {len(rewards)}" if over else "did not end"
        raise UserError(
            f"a text of {len(response_ids)} tokens {found} in the environment, whose longest text is "
            f"{env.task.max_length} and whose EOS is {env.task.vocabulary.eos}. Give it the max_new_tokens and the end "
            "of turn of the model."
        )
    return rewards


def env_prompts(env: TextGenerationEnv) -> list[list[int]]:
    """The environment's prompts as token ids, in their order."""
    prompts = []
    for number in range(len(env.task.prompts)):
        seen, _ = env.reset(options={"prompt": number})
        prompts.append(_ids(seen))
    return prompts


class EnvironmentScorer:
    """A `policy.scorer_protocol.Scorer`: the sum of the rewards that the environment pays for a response's tokens."""

    def __init__(self, env: TextGenerationEnv) -> None:
        self.env = env
        self._numbers = {tuple(ids): number for number, ids in enumerate(env_prompts(env))}

    def score(self, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> torch.Tensor:
        """(n,), fp32."""
        pairs = zip(prompt_ids, response_ids, strict=True)
        return torch.tensor([sum(replay(self.env, self._numbers[tuple(prompt)], ids)) for prompt, ids in pairs])


def _ids(seen: dict[str, Any]) -> list[int]:
    ids: list[int] = seen["tokens"][seen["mask"] == 1].tolist()
    return ids
