"""How a rollout is divided: each minibatch makes an update, and each micro-batch of it fits into memory."""

import random
from collections.abc import Iterator, Sequence

from backbone.batching import by_prompt
from policy.config import PolicyConfig
from policy.native.rollout import Rollout


def minibatches(
    config: PolicyConfig, rollout: Rollout, step: int, seed: int, processes: int
) -> Iterator[tuple[int, list[int], int]]:
    """For each update of a step: its epoch, this process's rows in it, and the number of rows over all processes.

    The order is a function of seed, step and epoch alone. Responses to one prompt stay together as far as the size of a
    minibatch allows, so that their prompt is computed once.
    """
    total = len(rollout.rows) * processes
    first, size = step * total, total // config.minibatches
    place = {row: number for number, row in enumerate(rollout.rows)}
    for epoch in range(config.epochs):
        prompts = list(range(first, first + total, config.group))
        if config.minibatches > 1:
            random.Random(f"{seed}/{step}/{epoch}").shuffle(prompts)
        order = [row for prompt in prompts for row in range(prompt, prompt + config.group)]
        for start in range(0, total, size):
            yield epoch, sorted(place[row] for row in order[start : start + size] if row in place), size


def micro_batches(rollout: Rollout, rows: Sequence[int], size: int) -> list[list[int]]:
    """The rows in by_prompt of at most `size`, of similar length, those of one prompt together."""
    found = by_prompt([rollout.prompt_ids[row] for row in rows], [rollout.response_ids[row] for row in rows], size)
    return [[rows[place] for place in part] for part in found]
