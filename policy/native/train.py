"""The native training loop of the policy stage: rollout, advantages, update, step after step.

Runs in one process or in many under `accelerate launch`. The same global batch gives the same result, because every
response has a random stream of its own, advantages are computed from the rewards of all processes, and gradients are
summed over processes. A killed run continues from its last checkpoint to the same bits.
"""

import json
import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from backbone.adapters import SharedBase
from backbone.sampling import Draw, check_room
from backbone.tokens import Ids
from foundation.errors import UserError
from foundation.files import write_jsonl
from policy.alarms import Alarms, tracker_metrics
from policy.algorithms.advantages import RunningMean, discounted_returns, whiten
from policy.algorithms.kl import kl_estimate
from policy.algorithms.losses import explained_variance, value_loss
from policy.algorithms.registry import Algorithm, Experience
from policy.algorithms.token_rewards import token_rewards
from policy.config import PolicyConfig, algorithm_of, check_config
from policy.finished import CHECKPOINTS, finish
from policy.metrics import machine_metrics, repetition, score_spread, timed
from policy.native.checkpoints import restore_checkpoint, restore_weights, save_checkpoint
from policy.native.controls import base_length, begin_controls, follow, sampling_of
from policy.native.rollout import Rollout, gather_rollouts, roll_out
from policy.native.selection import Selection
from policy.native.training_state import ADAPTER, Row, TrainState, initial_state
from policy.native.update import update
from policy.samples import SampleLog
from policy.scorer_protocol import Mixture, Scorer
from policy.training_log import LOG


def train_policy(
    config: PolicyConfig,
    base: SharedBase,
    scorer: Scorer,
    prompts: Sequence[Ids],
    folder: Path,
    *,
    seed: int,
    initial: Path | None = None,
    accelerator: Accelerator | None = None,
    watched: Sequence[Row] = (),
    judge: Scorer | None = None,
    draw: Draw | None = None,
    on_step: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Tune the adapter "policy" on `base` and write it to `folder`; returns the log, one row per step.

    `folder` is where a killed call left its checkpoints, or empty. `initial` is an adapter to start from, by default
    `config.initial`. `watched` are rows of prompts whose responses are kept at every checkpoint (`samples.py`). An
    alarm of `config.stop_on` ends the training: the adapter is then that of the checkpoint before it, or of the start,
    and the last row of the log says so (`stopped`, `kept_step`). A `judge` that was not tuned towards may end it as
    well, or have an earlier checkpoint kept. Whatever ended it, what is kept above the target of the KL is brought
    there (`selection.py`). `draw`, of the main process, draws the responses to learn from elsewhere, with the
    log-probabilities of temperature 1; what is watched and judged is drawn here.
    """
    accelerator = accelerator or Accelerator(cpu=base.device.type == "cpu")
    check_config(config, len(prompts), accelerator.num_processes)
    check_room(base, prompts, config.max_new_tokens)
    state = initial_state(config, base, seed, initial or config.initial)
    state.mixture = scorer if isinstance(scorer, Mixture) else None
    start = state.policy.copies()
    log, alarms = restore_checkpoint(folder, state, base), Alarms(config.alarms)
    if config.length_control == "band" and not state.base_length:
        state.base_length = base_length(config, base, prompts, seed)
    samples = SampleLog(folder, watched, sampling_of(config), seed)
    selection = Selection(config, base, judge, prompts, folder, seed, accelerator)
    selection.go_on(state)
    if accelerator.is_main_process:
        (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        write_jsonl(folder / LOG, log)
        samples.go_on(state.step or -1)  # those of the start are drawn anew
        if not state.step:
            samples.add(base, ADAPTER, 0)
    for row in log:
        alarms.after(row)
        on_step(row)
    while state.step < config.steps:
        row = train_step(config, base, scorer, prompts, state, seed, accelerator, draw)
        if fired := [alarm.name for alarm in alarms.after(row)]:
            row["alarms"] = fired
        ended, checkpoint = state.step == config.steps, state.step % config.checkpoint_every == 0
        if stopped := [name for name in fired if name in config.stop_on]:
            accelerator.wait_for_everyone()
            row |= {"stopped": stopped, "kept_step": restore_weights(folder, state, start, base)}
        elif ended or checkpoint:
            if accelerator.is_main_process:
                samples.add(base, ADAPTER, state.step)
            row |= selection.look(state)
            row |= selection.choose(state, ended)
        if ended or "stopped" in row:
            row |= selection.to_target(state, row.get("kept_step"))
        log.append(row)
        if accelerator.is_main_process:
            with (folder / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            accelerator.log(tracker_metrics(row), step=row["step"])
        on_step(row)
        if "stopped" in row:
            break
        if checkpoint and not ended and accelerator.is_main_process:
            save_checkpoint(folder, state)
    accelerator.wait_for_everyone()  # others may be reading the checkpoint that is kept
    if accelerator.is_main_process:
        base.save_adapter(ADAPTER, folder, state.policy.master)
        finish(folder)
    accelerator.wait_for_everyone()
    return log


def train_step(
    config: PolicyConfig,
    base: SharedBase,
    scorer: Scorer,
    prompts: Sequence[Ids],
    state: TrainState,
    seed: int,
    accelerator: Accelerator,
    draw: Draw | None = None,
) -> Row:
    """One step of the algorithm: sample, score, penalise, update."""
    algorithm = algorithm_of(config)
    rollout = _sample(config, base, scorer, prompts, state, seed, accelerator, draw)
    values = None
    if state.value:
        with timed(rollout.seconds, "value"):
            values = state.value.predict(rollout)
    whole, expected = gather_rollouts(rollout, values, accelerator)

    scores = whole.scores
    if config.normalise_rewards:
        state.moments = state.moments.after(scores)
        scores = state.moments.normalised(scores)
    kl = kl_estimate(whole.logprobs, whole.ref_logprobs, algorithm.kl_estimator)
    price = state.length.price if state.length else 0.0
    gains = token_rewards(
        scores,
        kl,
        whole.mask,
        whole.finished,
        kl_coefficient=0.0,
        missing_eos_penalty=config.missing_eos_penalty,
        score_clip=config.score_clip,
        length_penalty=config.length_penalty + price,
    )
    if not state.controlled(config):
        unpenalised = advantages_of(config, algorithm, gains, whole.mask, expected, state.baseline)
        weighed = whiten(unpenalised, whole.mask) if algorithm.whiten else unpenalised
        begin_controls(config, algorithm, state, gains, weighed, whole.mask)
    beta = state.kl_coefficient(config)
    rewards = gains - beta * kl * whole.mask if algorithm.kl_in == "reward" else gains
    raw = advantages_of(config, algorithm, rewards, whole.mask, expected, state.baseline)
    advantages = whiten(raw, whole.mask) if algorithm.whiten else raw

    mine = [row - whole.rows[0] for row in rollout.rows], slice(rollout.mask.shape[1])
    figures = update(config, base, rollout, _at(advantages, *mine), state, accelerator, seed)
    if state.value and values is not None and expected is not None:
        returns = raw + expected
        with timed(rollout.seconds, "value"):
            state.value.fit(values, _at(returns, *mine), step=state.step, seed=seed, accelerator=accelerator)
        figures["value_loss"] = float(value_loss(expected, returns, whole.mask, int(whole.mask.sum())))
        paid = discounted_returns(rewards, config.discount)  # what is fitted contains the values themselves
        figures["explained_variance"] = explained_variance(expected, paid, whole.mask)
    figures |= _of_step(config, whole, raw)
    if state.kl:
        figures["kl_coefficient"] = beta
    if state.length:
        figures |= {"length_ratio": float(whole.mask.sum(1).mean()) / state.base_length, "length_price": price}
    follow(state, whole)
    state.baseline = state.baseline.after(rewards.sum(1))
    state.step += 1
    entropy, mismatch = figures.pop("entropy"), figures.pop("mismatch")
    mismatch = mismatch if rollout.mismatch is None else rollout.mismatch
    local = _of_responses(rollout, _at(rewards, *mine), entropy, mismatch)
    everyone = gather_object(local)
    means = {name: sum(one[name] for one in everyone) / len(everyone) for name in everyone[0]}
    return {"step": state.step, **means, **figures, **machine_metrics(rollout.seconds, figures["tokens"], base.device)}


def advantages_of(
    config: PolicyConfig,
    algorithm: Algorithm,
    rewards: torch.Tensor,
    mask: torch.Tensor,
    values: torch.Tensor | None,
    baseline: RunningMean,
) -> torch.Tensor:
    """The advantages of all tokens before whitening, over all processes: (n, T), as are all tensors given."""
    before = baseline if config.baseline == "mean" else RunningMean()
    return algorithm.advantages(
        Experience(rewards, mask, values, config.group, before, config.discount, config.gae_lambda)
    )


def prompts_of_step(count: int, per_step: int, step: int, seed: int) -> list[int]:
    """Which prompts a step uses: shuffled epochs, a function of the seed and the step alone."""
    places = (divmod(position, count) for position in range(step * per_step, (step + 1) * per_step))
    return [_order(count, f"{seed}/{epoch}")[place] for epoch, place in places]


@lru_cache(maxsize=2)  # a step may begin in one epoch and end in the next
def _order(count: int, seed: str) -> tuple[int, ...]:
    """The prompts of an epoch, shuffled."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return tuple(order)


def _sample(
    config: PolicyConfig,
    base: SharedBase,
    scorer: Scorer,
    prompts: Sequence[Ids],
    state: TrainState,
    seed: int,
    accelerator: Accelerator,
    draw: Draw | None,
) -> Rollout:
    """This process's share of the step's responses."""
    chosen = prompts_of_step(len(prompts), config.prompts_per_step, state.step, seed)
    share = len(chosen) // accelerator.num_processes
    mine = range(accelerator.process_index * share, (accelerator.process_index + 1) * share)
    if draw is not None:  # what is asked elsewhere, one process asks
        mine = range(len(chosen) if accelerator.is_main_process else 0)
    first = state.step * config.prompts_per_step
    try:
        return roll_out(
            base,
            ADAPTER,
            scorer,
            [prompts[chosen[i]] for i in mine],
            sampling_of(config),
            group=config.group,
            seed=seed,
            rows=[(first + i) * config.group for i in mine],
            micro_batch=config.micro_batch,
            merge=config.merge_for_sampling,
            accelerator=accelerator,
            draw=draw,
        )
    except UserError as error:
        raise UserError(f"step {state.step + 1}: {error} The last checkpoint is kept.") from error


def _at(tensor: torch.Tensor, rows: list[int], columns: slice) -> torch.Tensor:
    return tensor[rows, columns]


def _of_step(config: PolicyConfig, whole: Rollout, advantages: torch.Tensor) -> Row:
    """What is logged of all responses together."""
    return {
        "advantage_std": float(advantages[whole.mask.bool()].std(correction=0)),
        "score_spread": score_spread(whole.scores.tolist(), config.group),
        "tokens": int(whole.mask.sum()),
    }


def _of_responses(rollout: Rollout, rewards: torch.Tensor, entropy: torch.Tensor, mismatch: torch.Tensor) -> list[Row]:
    """What is logged of each response. KL is the k1 estimate, summed over the response's tokens, in nats."""
    lengths = rollout.mask.sum(1)
    kl = ((rollout.logprobs - rollout.ref_logprobs) * rollout.mask).sum(1)
    columns = {
        "reward": rewards.sum(1),
        "score": rollout.scores,
        "kl": kl,
        "entropy": entropy.sum(1) / lengths,
        "length": lengths,
        "finish_rate": rollout.finished.float(),
        "repetition": repetition(rollout.response_ids),
        "logprob_mismatch": mismatch.sum(1) / lengths,
        **{f"score_{name}": values for name, values in rollout.parts.items()},
    }
    return [{name: float(column[row]) for name, column in columns.items()} for row in range(len(lengths))]
