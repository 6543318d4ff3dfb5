"""The policy stage: rollout, advantages, update, over and over.

Runs in one process or in many under `accelerate launch`; the same global batch gives the same result, because every
response has a random stream of its own and gradients are summed over processes. A killed run goes on from its last
checkpoint to the same bits. Which prompts, which scorer and which folder, the caller says.
"""

import json
import math
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from rlhf_pipeline.backbone.adapters import SharedBase, lora_config
from rlhf_pipeline.backbone.logprobs import response_logprobs
from rlhf_pipeline.backbone.sampling import SamplingConfig
from rlhf_pipeline.backbone.tokens import Ids
from rlhf_pipeline.errors import UserError
from rlhf_pipeline.files import publish_folder, write_jsonl
from rlhf_pipeline.policy.config import PolicyConfig, check_config
from rlhf_pipeline.policy.objectives import (
    ADVANTAGES,
    RunningMean,
    kl_estimate,
    policy_gradient_loss,
    token_rewards,
)
from rlhf_pipeline.policy.rollout import Mixture, Rollout, Scorer, by_length, roll_out, timed

ADAPTER = "policy"
LOG = "log.jsonl"
Row = dict[str, Any]


@dataclass
class TrainState:
    """All that the next step depends on, besides the seed."""

    master: dict[str, torch.Tensor]
    optimizer: torch.optim.AdamW
    step: int = 0
    baseline: RunningMean = field(default_factory=RunningMean)
    mixture: Mixture | None = None


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
    on_step: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Tune the adapter "policy" on `base` and write it to `folder`; returns the log, one row a step.

    `folder` is where a killed call left its checkpoints, or empty. `initial` is an adapter to go on from.
    """
    accelerator = accelerator or Accelerator(cpu=base.device.type == "cpu")
    check_config(config, len(prompts), accelerator.num_processes)
    state = start(config, base, seed, initial)
    state.mixture = scorer if isinstance(scorer, Mixture) else None
    log = resume(folder, state, base)
    if accelerator.is_main_process:
        write_jsonl(folder / LOG, log)
    for row in log:
        on_step(row)
    while state.step < config.steps:
        row = train_step(config, base, scorer, prompts, state, seed, accelerator)
        log.append(row)
        if accelerator.is_main_process:
            with (folder / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            accelerator.log({key: value for key, value in row.items() if key != "step"}, step=row["step"])
        on_step(row)
        if state.step % config.checkpoint_every == 0 and state.step < config.steps and accelerator.is_main_process:
            save_checkpoint(folder, state)
    if accelerator.is_main_process:
        base.save_adapter(ADAPTER, folder, state.master)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
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
) -> Row:
    """Sample, score, penalise, update: the algorithm, once."""
    chosen = prompts_of_step(len(prompts), config.prompts_per_step, state.step, seed)
    share = len(chosen) // accelerator.num_processes
    mine = range(accelerator.process_index * share, (accelerator.process_index + 1) * share)
    first = state.step * config.prompts_per_step
    try:
        rollout = roll_out(
            base,
            ADAPTER,
            scorer,
            [prompts[chosen[i]] for i in mine],
            SamplingConfig(max_new_tokens=config.max_new_tokens, temperature=config.temperature),
            group=config.group,
            seed=seed,
            rows=[(first + i) * config.group for i in mine],
            micro_batch=config.micro_batch,
            merge=config.merge_for_sampling,
        )
    except UserError as error:
        raise UserError(f"step {state.step + 1}: {error} The last checkpoint is kept.") from error
    kl = kl_estimate(rollout.logprobs, rollout.ref_logprobs, config.kl_estimator or "k1")
    rewards = token_rewards(
        rollout.scores,
        kl,
        rollout.mask,
        rollout.finished,
        config.kl_coefficient,
        config.missing_eos_penalty,
        config.score_clip,
    )
    advantages = ADVANTAGES[config.algorithm](rewards, rollout.mask, config.group, state.baseline, config.discount)
    figures = update(config, base, rollout, advantages, state, accelerator)
    everyone = gather_object(_figures(rollout, rewards, figures.pop("entropy"), figures.pop("mismatch")))
    state.baseline = state.baseline.after(torch.tensor([one["reward"] for one in everyone]))
    state.step += 1
    means = {name: sum(one[name] for one in everyone) / len(everyone) for name in everyone[0]}
    seconds = {f"seconds_{phase}": round(spent, 3) for phase, spent in rollout.seconds.items()}
    return {"step": state.step, **means, **figures, **seconds}


def update(
    config: PolicyConfig,
    base: SharedBase,
    rollout: Rollout,
    advantages: torch.Tensor,
    state: TrainState,
    accelerator: Accelerator,
) -> Row:
    """One AdamW step on the policy gradient, accumulated over micro-batches and summed over processes."""
    weights = base.parameters(ADAPTER)
    n = len(rollout.response_ids) * accelerator.num_processes
    rate = config.learning_rate * min(1.0, (state.step + 1) / (config.warmup_steps + 1))
    loss_sum, entropy, mismatch = 0.0, torch.zeros_like(advantages), torch.zeros_like(advantages)
    with timed(rollout.seconds, "update"):
        for parameter in weights.values():
            parameter.grad = None
        for rows in by_length(rollout.prompt_ids, rollout.response_ids, config.micro_batch):
            prompt_ids, response_ids = ([ids[r] for r in rows] for ids in (rollout.prompt_ids, rollout.response_ids))
            with base.using(ADAPTER):
                now = response_logprobs(base, prompt_ids, response_ids, config.temperature)
                width = now.mask.shape[1]
                loss = policy_gradient_loss(now.logprobs, advantages[rows, :width], now.mask, n)
                if not bool(loss.isfinite()):
                    raise _not_finite("loss", state.step + 1, response_ids, base)
                loss.backward()  # type: ignore[no-untyped-call]
            loss_sum += float(loss.detach())
            entropy[rows, :width] = now.entropy
            mismatch[rows, :width] = (now.logprobs.detach() - rollout.logprobs[rows, :width]).abs() * now.mask
        for name, parameter in weights.items():
            assert parameter.grad is not None
            state.master[name].grad = parameter.grad.float()
        sum_gradients(list(state.master.values()), accelerator)
        norm = float(torch.nn.utils.clip_grad_norm_(list(state.master.values()), config.max_grad_norm))
        if not math.isfinite(norm):
            raise _not_finite("gradient", state.step + 1, rollout.response_ids, base)
        for settings in state.optimizer.param_groups:
            settings["lr"] = rate
        state.optimizer.step()
        copy_master(weights, state.master)
    total = sum(gather_object([loss_sum]))
    return {"loss": total, "grad_norm": norm, "learning_rate": rate, "entropy": entropy, "mismatch": mismatch}


def start(config: PolicyConfig, base: SharedBase, seed: int, initial: Path | None) -> TrainState:
    """A new adapter (or `initial`) on the base, its fp32 master copies, and a fresh optimizer.

    Bfloat16 cannot hold small updates: AdamW works on fp32 copies, rounded into the adapter after each step.
    """
    if initial is not None:
        base.load_adapter(ADAPTER, initial, trainable=True)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            base.add_adapter(
                ADAPTER, lora_config(config.lora_rank, config.lora_alpha, config.lora_targets), trainable=True
            )
    base.check_trainable(ADAPTER)
    master = {name: value.detach().float().clone().requires_grad_() for name, value in base.parameters(ADAPTER).items()}
    optimizer = torch.optim.AdamW(list(master.values()), lr=config.learning_rate, weight_decay=0.0)
    return TrainState(master, optimizer)


def prompts_of_step(count: int, per_step: int, step: int, seed: int) -> list[int]:
    """Which prompts a step uses: shuffled epochs, a function of the seed and the step alone."""
    chosen = []
    for position in range(step * per_step, (step + 1) * per_step):
        epoch, place = divmod(position, count)
        order = list(range(count))
        random.Random(f"{seed}/{epoch}").shuffle(order)
        chosen.append(order[place])
    return chosen


def sum_gradients(parameters: Sequence[torch.Tensor], accelerator: Accelerator) -> None:
    """Add the gradients of all processes, in one message."""
    if accelerator.num_processes == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), reduction="sum")
    for gradient, summed in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(summed.view_as(gradient))


def copy_master(weights: dict[str, torch.nn.Parameter], master: dict[str, torch.Tensor]) -> None:
    """Round the fp32 copies into the adapter that computes."""
    with torch.no_grad():
        for name, parameter in weights.items():
            parameter.copy_(master[name])


def save_checkpoint(folder: Path, state: TrainState) -> None:
    """Write everything that the next step depends on, whole or not at all; older checkpoints go."""
    checkpoints = folder / "checkpoints"
    final = checkpoints / f"step-{state.step:06d}"
    partial = checkpoints / f".{final.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        torch.save(
            {
                "master": {name: value.detach() for name, value in state.master.items()},
                "optimizer": state.optimizer.state_dict(),
                "step": state.step,
                "baseline": asdict(state.baseline),
                "mixture": state.mixture.state() if state.mixture else None,
            },
            partial / "state.pt",
        )
        publish_folder(partial, final)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError(
            f"cannot write the checkpoint {final}: {error}. The one before it is whole; free some space and run again."
        ) from error
    for old in sorted(checkpoints.glob("step-*"))[:-1]:
        shutil.rmtree(old)


def resume(folder: Path, state: TrainState, base: SharedBase) -> list[Row]:
    """Go on from the last whole checkpoint, if there is one; returns the log up to it."""
    saved = sorted((folder / "checkpoints").glob("step-*"))
    if saved:
        loaded = torch.load(saved[-1] / "state.pt", map_location=base.device, weights_only=True)
        with torch.no_grad():
            for name, value in loaded["master"].items():
                state.master[name].copy_(value)
        state.optimizer.load_state_dict(loaded["optimizer"])
        state.step = loaded["step"]
        state.baseline = RunningMean(**loaded["baseline"])
        if state.mixture:
            state.mixture.restore(loaded["mixture"])
        copy_master(base.parameters(ADAPTER), state.master)
    rows: list[Row] = []
    path = folder / LOG
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            if len(rows) == state.step:
                break
            rows.append(json.loads(line))
    return rows


def _figures(rollout: Rollout, rewards: torch.Tensor, entropy: torch.Tensor, mismatch: torch.Tensor) -> list[Row]:
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
        "logprob_mismatch": mismatch.sum(1) / lengths,
        **{f"score_{name}": values for name, values in rollout.parts.items()},
    }
    return [{name: float(column[row]) for name, column in columns.items()} for row in range(len(lengths))]


def _not_finite(what: str, step: int, response_ids: Sequence[Ids], base: SharedBase) -> UserError:
    shown = "; ".join(f'"{base.renderer.text(ids)[:80]}"' for ids in response_ids[:3])
    return UserError(
        f"the {what} of step {step} is not finite, on responses such as {shown}. The adapter was not updated; the last "
        "checkpoint is kept. Lower policy.learning_rate or set policy.score_clip, and run the command again."
    )
