"""What the policy stage is given and cannot use: said at once and in words, before a model loads where it can be."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from backbone.adapter_folder import CONFIG as ADAPTER_CONFIG
from backbone.adapter_folder import WEIGHTS, read_adapter
from backbone.adapters import SharedBase
from foundation.errors import UserError
from policy.config import PolicyConfig, check_config
from policy.native.train import train_policy
from policy.scorer_protocol import checked_scores
from tests import shared_base
from tests.policy.tiny_run import CONFIG, PROMPTS, LowIds, load_base

ONE_STEP = CONFIG.model_copy(update={"steps": 1})
RESPONSES = [[5, 6, 2], [7, 2], [40, 41, 42]]


def changed(**update: Any) -> PolicyConfig:
    return CONFIG.model_copy(update=update)


def refused(config: PolicyConfig, base: SharedBase, folder: Path, message: str, **more: Any) -> None:
    """`train_policy` says `message`, and leaves neither files nor adapters."""
    prompts = more.pop("prompts", PROMPTS)
    with pytest.raises(UserError, match=message):
        train_policy(config, base, more.pop("scorer", LowIds()), prompts, folder, seed=0, **more)
    assert base.adapters == []
    assert list(folder.iterdir()) == []


# Settings: known without any model.

SINGLE = {"algorithm": "reinforce", "prompts_per_step": 1, "group": 1}
SETTINGS = [
    ({"algorithm": "rloo", "group": 1}, r"policy.algorithm=rloo compares .* needs policy.group of at least 2; it is 1"),
    ({"algorithm": "grpo", "group": 1}, r"policy.algorithm=grpo .* Raise it, or use policy.algorithm=reinforce"),
    ({"algorithm": "dr_grpo", "group": 1}, "at least 2; it is 1"),
    ({"minibatches": 3}, r"policy.minibatches=3 does not divide the 16 responses .* Use a divisor"),
    ({"minibatches": 32}, "does not divide the 16 responses"),
    ({"prompts_per_step": 13}, r"prompts_per_step=13, but there are only 12 prompts.* Add prompts or lower it"),
    (SINGLE | {"kl_target": 3.0}, r"policy.kl_target=3.0 is held .* Raise .* or set policy.kl_target=null\."),
    (SINGLE | {"length_control": "band"}, r"policy.length_control=band is held .* or set policy.length_control=none\."),
    ({"kl_in": "loss", "kl_estimator": "k1"}, r"expected gradient of zero .* Use policy.kl_estimator=k2"),
    ({"initial": Path("/nowhere/at-all")}, "policy.initial: there is no folder /nowhere/at-all"),
]


@pytest.mark.parametrize(("settings", "message"), SETTINGS)
def test_settings_that_cannot_work_are_refused_without_a_model(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_config(changed(**settings), len(PROMPTS))


def test_single_responses_are_learned_from_where_nothing_is_held() -> None:
    check_config(changed(**SINGLE), len(PROMPTS))
    check_config(changed(**SINGLE, kl_target=3.0, kl_coefficient=0.0), len(PROMPTS))


@pytest.mark.parametrize(("settings", "message"), SETTINGS[:1] + SETTINGS[3:4])
def test_training_refuses_them_before_it_makes_anything(
    base: SharedBase, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    refused(changed(**settings), base, tmp_path, message)


def test_a_group_of_one_is_enough_for_what_compares_no_siblings() -> None:
    for algorithm in ("reinforce", "reinforce_plus_plus", "ppo"):
        check_config(changed(algorithm=algorithm, group=1), len(PROMPTS))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"algorithm": "reinforced"}, "known are reinforce, rloo, grpo, dr_grpo, reinforce_plus_plus, ppo, dpo"),
        ({"minibatches": 0}, "greater than or equal to 1"),
        ({"gae_lambda": 1.1}, "less than or equal to 1"),
        ({"temperature": 0.0}, "greater than 0"),
        ({"lora_rnak": 8}, "Extra inputs are not permitted"),
    ],
)
def test_a_setting_out_of_its_range_is_refused_when_it_is_read(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PolicyConfig(**settings)


# Prompts and layers: known as soon as the model is there, before anything is sampled.


def test_one_prompt_too_long_for_the_context_is_found_before_the_first_step(base: SharedBase, tmp_path: Path) -> None:
    prompts = [*PROMPTS, [7] * 250]
    assert base.renderer.max_length == 256
    refused(CONFIG, base, tmp_path, r"8 new tokens need 258 tokens; .* has 256. Shorten the prompt", prompts=prompts)


@pytest.mark.parametrize("targets", ["no_such_layer", ("no_such_layer", "nor_this")])
def test_targets_that_match_no_layer_are_refused(base: SharedBase, tmp_path: Path, targets: Any) -> None:
    refused(changed(lora_targets=targets), base, tmp_path, r"(no layer named|cannot put the adapter) .*no_such_layer")


# Adapters to go on from.


def save_adapter(model: Path, folder: Path, rank: int = 4) -> Path:
    base = shared_base.load(model)
    shared_base.add_random_adapter(base, "before", rank=rank)
    base.save_adapter("before", folder)
    return folder


def test_an_adapter_of_another_rank_keeps_its_own(base: SharedBase, tiny_model: Path, tmp_path: Path) -> None:
    initial = save_adapter(tiny_model, tmp_path / "before", rank=2)
    (tmp_path / "after").mkdir()
    assert ONE_STEP.lora_rank == 4
    train_policy(ONE_STEP, base, LowIds(), PROMPTS, tmp_path / "after", seed=0, initial=initial)
    config, weights = read_adapter(tmp_path / "after")
    assert config.r == 2
    assert {name: value.shape for name, value in weights.items()} == {
        name: value.shape for name, value in load_file(initial / WEIGHTS).items()
    }


def test_an_adapter_for_another_base_is_refused_with_its_name(
    base: SharedBase, tiny_model: Path, tmp_path: Path
) -> None:
    wider = LlamaConfig(
        vocab_size=320, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    )
    foreign = SharedBase(LlamaForCausalLM(wider).eval(), base.tokenizer, "another/base")
    shared_base.add_random_adapter(foreign, "before")
    foreign.save_adapter("before", tmp_path / "before")
    (tmp_path / "after").mkdir()
    message = r"does not fit .*of another size.* It was made for another/base; name that base"
    refused(CONFIG, base, tmp_path / "after", message, initial=tmp_path / "before")


def test_a_folder_without_an_adapter_is_refused(base: SharedBase, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "after").mkdir()
    message = f"is not an adapter folder: it needs {ADAPTER_CONFIG} and {WEIGHTS}"
    refused(CONFIG, base, tmp_path / "after", message, initial=tmp_path / "empty")


def test_a_damaged_adapter_is_refused(base: SharedBase, tiny_model: Path, tmp_path: Path) -> None:
    initial = save_adapter(tiny_model, tmp_path / "before")
    (initial / WEIGHTS).write_bytes((initial / WEIGHTS).read_bytes()[:100])
    (tmp_path / "after").mkdir()
    refused(CONFIG, base, tmp_path / "after", "cannot be read .* It is damaged", initial=initial)


def test_an_adapter_that_is_no_lora_is_refused(base: SharedBase, tiny_model: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    targets = {"target_modules": ["q_proj", "down_proj"], "feedforward_modules": ["down_proj"]}
    get_peft_model(model, IA3Config(**targets)).save_pretrained(tmp_path / "before")
    (tmp_path / "after").mkdir()
    message = "is a IA3Config; only LoRA adapters are supported"
    refused(CONFIG, base, tmp_path / "after", message, initial=tmp_path / "before")


# Rewards: anybody's code.


class Returning:
    """A scorer that returns what it was given."""

    def __init__(self, scores: Any) -> None:
        self.scores = scores

    def score(self, prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        if isinstance(self.scores, Exception):
            raise self.scores
        found: torch.Tensor = self.scores
        return found


def said(base: SharedBase, scores: Any) -> torch.Tensor:
    return checked_scores(Returning(scores), RESPONSES, RESPONSES, base)


@pytest.mark.parametrize("error", [KeyError("rating"), ZeroDivisionError("division by zero"), RuntimeError("x" * 999)])
def test_a_reward_that_raises_is_named_with_what_it_raised(base: SharedBase, error: Exception) -> None:
    with pytest.raises(UserError, match=f"failed on 3 responses with {type(error).__name__}.* Fix the reward") as told:
        said(base, error)
    assert told.value.__cause__ is error
    assert len(str(told.value)) < 400


def test_a_message_for_the_user_passes_through_as_it_is(base: SharedBase) -> None:
    with pytest.raises(UserError, match=r'^the reward "length" needs a column$'):
        said(base, UserError('the reward "length" needs a column'))


@pytest.mark.parametrize("shape", [(2,), (4,), (3, 1), (0,), ()])
def test_too_few_or_too_many_scores_are_refused(base: SharedBase, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"returned shape .* for 3 responses. It must return one per response: \(3,\)"):
        said(base, torch.ones(shape))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_scores_that_are_no_numbers_are_refused_with_the_response(base: SharedBase, bad: float) -> None:
    text = base.renderer.text(RESPONSES[1])
    with pytest.raises(UserError, match="the score of 1 of 3 responses is not finite, for instance of") as told:
        said(base, torch.tensor([1.0, bad, 2.0]))
    assert f'"{text}"' in str(told.value)


@pytest.mark.parametrize("scores", [None, ["good", "bad", "good"], [1.0, None, 2.0], [[1.0], [2.0, 3.0], []]])
def test_what_is_no_tensor_of_numbers_is_refused(base: SharedBase, scores: Any) -> None:
    with pytest.raises(UserError, match=r"the reward failed on 3 responses with|returned shape"):
        said(base, scores)


def test_scores_without_values_are_refused(base: SharedBase) -> None:
    with pytest.raises(UserError, match="failed on 3 responses with NotImplementedError"):
        said(base, torch.ones(3, device="meta"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a second device")
def test_scores_on_another_device_are_brought_over(base: SharedBase) -> None:
    found = said(base, torch.tensor([1.0, 2.0, 3.0], device="cuda"))
    assert found.device == base.device
    assert found.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "scores",
    [
        [1, 2, 3],
        torch.tensor([1, 2, 3]),
        torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64),
        torch.tensor([1.0, 2.0, 3.0], dtype=torch.bfloat16),
        torch.tensor([1.0, 2.0, 3.0], requires_grad=True),
    ],
)
def test_any_numbers_will_do_and_are_constants(base: SharedBase, scores: Any) -> None:
    found = said(base, scores)
    assert found.dtype == torch.float32
    assert found.tolist() == [1.0, 2.0, 3.0]
    assert not found.requires_grad


class FailsAt(LowIds):
    """Raises in a chosen call."""

    def __init__(self, call: int) -> None:
        self.calls, self.call = 0, call

    def score(self, prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        self.calls += 1
        if self.calls == self.call:
            raise KeyError("references")
        return super().score(prompt_ids, response_ids)


def test_a_reward_that_raises_late_costs_no_more_than_since_the_checkpoint(tiny_model: Path, tmp_path: Path) -> None:
    message = r"step 6: the reward failed on 16 responses with KeyError: 'references'.* The last checkpoint is kept"
    with pytest.raises(UserError, match=message):
        train_policy(CONFIG, load_base(tiny_model), FailsAt(6), PROMPTS, tmp_path, seed=3)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000004"]
    log = train_policy(CONFIG, load_base(tiny_model), LowIds(), PROMPTS, tmp_path, seed=3)
    assert [row["step"] for row in log] == list(range(1, CONFIG.steps + 1))
