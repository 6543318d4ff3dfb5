"""What TRL is told, and what it is never asked to do."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.rloo_config import RLOOConfig

from backbone.adapters import SharedBase
from foundation.errors import UserError
from policy.config import PolicyConfig
from policy.trl.train_rloo_grpo import check_trl, sampler_arguments, train_with_trl
from policy.trl.unused_settings import OF_OTHER_ALGORITHMS, OF_SAMPLING, unused_by_dpo
from tests.policy.tiny_run import CONFIG, PROMPTS, LowIds, load_base


def changed(**update: Any) -> PolicyConfig:
    return CONFIG.model_copy(update={"engine": "trl", "steps": 5, "checkpoint_every": 2, **update})


@pytest.fixture
def base(tiny_model: Path) -> SharedBase:
    """What is trained on."""
    return load_base(tiny_model)


def test_trl_knows_the_arguments_for_vllm() -> None:
    for vllm, mode, url in (
        (None, None, None),
        ("colocate", "colocate", None),
        ("http://host:1", "server", "http://host:1"),
    ):
        given = sampler_arguments(changed(vllm=vllm), eos_ids=(2, 7))
        assert given.keys() <= {field.name for field in fields(RLOOConfig)} & {
            field.name for field in fields(GRPOConfig)
        }
        assert (given.get("vllm_mode"), given.get("vllm_server_base_url")) == (mode, url)
        assert given.get("use_vllm", False) == (vllm is not None)
        assert given.get("generation_kwargs") == (None if vllm is None else {"stop_token_ids": [2, 7]})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"algorithm": "ppo"}, "runs rloo, grpo, dr_grpo; policy.algorithm is ppo"),
        ({"group": 1}, "group"),
        ({"stop": ("END",)}, "cannot follow policy.stop"),
        ({"kl_in": "loss"}, "TRL's rloo cannot follow policy.kl_in=loss"),
        ({"algorithm": "grpo", "kl_in": "reward"}, "TRL's grpo cannot follow policy.kl_in=reward"),
        ({"algorithm": "grpo", "kl_estimator": "k2"}, "cannot follow policy.kl_estimator=k2"),
        ({"entropy_bonus": 0.1, "importance_cap": 2.0}, "policy.entropy_bonus=0.1 and policy.importance_cap=2.0"),
        ({"vllm": "localhost:8000"}, 'neither "colocate" nor the URL of a server'),
        ({"engine": "native", "vllm": "colocate"}, r"is for policy\.engine=trl"),
        ({"merge_for_sampling": True}, "cannot follow policy.merge_for_sampling=True"),
        ({"stop_on": ("judge",)}, r"cannot follow policy.stop_on=\('judge',\)"),
        ({"discount": 0.9}, "policy.algorithm=rloo, as TRL trains it, has no use for policy.discount=0.9"),
        ({"algorithm": "grpo", "gae_lambda": 0.5}, "has no use for policy.gae_lambda=0.5. Leave it at its default"),
        ({"baseline": "none", "value_network": "adapter"}, "no use for policy.baseline=none and policy.value_network="),
        ({"minibatches": 3}, "minibatches=3 does not divide the 16 responses"),
    ],
)
def test_what_trl_cannot_do_is_refused_before_anything_is_made(
    base: SharedBase, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train_with_trl(changed(**settings), base, LowIds(), PROMPTS, tmp_path, seed=0)
    assert base.adapters == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("prompts", "group", "minibatches", "share"), [(6, 2, 4, 6), (2, 2, 4, 2), (2, 3, 2, 3)])
def test_minibatches_that_do_not_divide_the_share_of_a_process_are_refused(
    prompts: int, group: int, minibatches: int, share: int
) -> None:
    config = changed(prompts_per_step=prompts, group=group, minibatches=minibatches)
    check_trl(config)
    with pytest.raises(
        UserError, match=rf"minibatches={minibatches} does not divide the {share} responses .* of 2 proc"
    ):
        check_trl(config, processes=2)
    check_trl(config.model_copy(update={"minibatches": share}), processes=2)


def test_defaults_that_have_no_effect_are_not_refused() -> None:
    check_trl(PolicyConfig(engine="trl"))
    assert unused_by_dpo(PolicyConfig(algorithm="dpo")) == []
    entropy = PolicyConfig(algorithm="dpo", engine="trl", stop_on=("entropy",), kl_target=None, max_new_tokens=8)
    assert unused_by_dpo(entropy) == []


def test_every_setting_has_an_effect_or_is_named() -> None:
    """A new setting is to be followed into each trainer, or added to what is refused or told."""
    shared = {
        "engine", "algorithm", "steps", "prompts_per_step", "kl_coefficient", "kl_target", "max_new_tokens",
        "learning_rate", "warmup_steps", "max_grad_norm", "micro_batch", "gradient_checkpointing", "initial",
        "lora_rank", "lora_alpha", "lora_targets", "lora_layers", "checkpoint_every", "tracker", "alarms", "stop_on",
        "accept_weak_reward",
    }  # fmt: skip
    assert shared | {*OF_OTHER_ALGORITHMS, *OF_SAMPLING} == PolicyConfig.model_fields.keys()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"group": 8}, ["policy.group=8"]),
        ({"temperature": 1.0, "stop": ("END",)}, ["policy.temperature=1.0", "policy.stop=('END',)"]),
        ({"discount": 0.9}, ["policy.discount=0.9"]),
        ({"merge_for_sampling": True}, ["policy.merge_for_sampling=True"]),
        ({"stop_on": ("kl",)}, ["policy.stop_on=('kl',)"]),
    ],
)
def test_what_dpo_has_no_use_for_is_named(settings: dict[str, Any], told: list[str]) -> None:
    assert unused_by_dpo(PolicyConfig(algorithm="dpo", **settings)) == told
