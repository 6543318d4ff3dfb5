from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from backbone.adapters import SharedBase
from backbone.logprobs import response_logprobs
from backbone.sampling import Sample
from backbone.training.activation_checkpointing import checkpointed
from policy.algorithms.kl import AdaptiveKL
from policy.config import PolicyConfig
from policy.native.master_weights import MasterWeights
from policy.native.minibatches import minibatches
from policy.native.rollout import Rollout, SampledResponse, split_among_processes
from policy.native.training_state import ADAPTER, TrainState
from policy.native.update import update
from tests.policy.tiny_run import CONFIG, load_base, run
from tests.shared_base import add_random_adapter

PROMPT_IDS = [[1, 5, 6]] * 2 + [[1, 9, 10, 11]] * 2
RESPONSES = [[40, 41, 42], [50, 2], [60], [70, 71, 72, 2]]
MASK = torch.tensor([[1.0, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]])
ADVANTAGES = torch.tensor([1.0, -1.0, 0.5, -0.5])[:, None] * MASK
BASIC = CONFIG.model_copy(update={"group": 2, "micro_batch": 3, "kl_coefficient": 0.0, "max_grad_norm": 1e9})
Gradient = dict[str, torch.Tensor]


@pytest.fixture
def base(tiny_model: Path) -> SharedBase:
    base = load_base(tiny_model)
    add_random_adapter(base, ADAPTER, trainable=True)
    return base


def rollout_of(base: SharedBase) -> Rollout:
    with torch.no_grad(), base.using(ADAPTER):
        now = response_logprobs(base, PROMPT_IDS, RESPONSES, BASIC.temperature)
    with torch.no_grad(), base.using(None):
        reference = response_logprobs(base, PROMPT_IDS, RESPONSES, BASIC.temperature)
    finished = torch.ones(4).bool()
    return Rollout(
        [0, 1, 2, 3], PROMPT_IDS, RESPONSES, now.logprobs, reference.logprobs, MASK, torch.zeros(4), finished, {}
    )


def gradient(
    base: SharedBase, rollout: Rollout, advantages: torch.Tensor = ADVANTAGES, **settings: Any
) -> tuple[Gradient, dict[str, Any]]:
    """What one call of `update` gave its (last) step to go by, and its figures; the policy is put back."""
    before = {name: weight.detach().clone() for name, weight in base.parameters(ADAPTER).items()}
    config = BASIC.model_copy(update=settings)
    state = TrainState(MasterWeights((config.learning_rate, base.parameters(ADAPTER))))
    figures = update(config, base, rollout, advantages, state, Accelerator(cpu=True))
    found = {name: value.grad.clone() for name, value in state.policy.master.items() if value.grad is not None}
    with torch.no_grad():
        for name, weight in base.parameters(ADAPTER).items():
            weight.copy_(before[name])
    return found, figures


def assert_near(one: Gradient, other: Gradient, factor: float = 1.0) -> None:
    assert max(float(value.abs().max()) for value in one.values()) > 1e-3
    for name, value in one.items():
        torch.testing.assert_close(value, factor * other[name], atol=2e-5, rtol=1e-3)


def test_the_clipped_loss_has_the_policy_gradient_at_its_first_update(base: SharedBase) -> None:
    rollout = rollout_of(base)
    plain, _ = gradient(base, rollout, algorithm="rloo")
    clipped, figures = gradient(base, rollout, algorithm="reinforce_plus_plus")
    assert_near(plain, clipped)
    assert (figures["clip_fraction"], figures["ratio_mean"], figures["ratio_max"]) == (0.0, 1.0, 1.0)


def test_aggregations_weigh_responses_as_they_say(base: SharedBase) -> None:
    rollout, lengths = rollout_of(base), MASK.sum(1, keepdim=True)
    plain, _ = gradient(base, rollout, ADVANTAGES / lengths)
    assert_near(gradient(base, rollout, aggregation="sequence_mean")[0], plain)
    plain, _ = gradient(base, rollout)
    assert_near(gradient(base, rollout, aggregation="fixed", max_new_tokens=8)[0], plain, 1 / 8)
    assert_near(gradient(base, rollout, aggregation="token_mean")[0], plain, 4 / 10)


def test_k2_in_the_loss_has_the_gradient_of_its_difference_in_the_advantage(base: SharedBase) -> None:
    rollout = rollout_of(base)
    difference = (rollout.logprobs - rollout.ref_logprobs) * MASK
    by_advantage, _ = gradient(base, rollout, -0.3 * difference)
    by_loss, _ = gradient(base, rollout, torch.zeros_like(MASK), kl_in="loss", kl_coefficient=0.3)
    assert_near(by_loss, by_advantage)


def test_importance_weights_scale_tokens_up_to_the_cap(base: SharedBase) -> None:
    rollout = rollout_of(base)
    off = torch.tensor([[0.5, 2.0, -1.0, 0], [0.1, -0.1, 0, 0], [3.0, 0, 0, 0], [0, 0, 0.2, -3.0]])
    shifted = Rollout(**(vars(rollout) | {"logprobs": rollout.logprobs - off * MASK}))
    expected, _ = gradient(base, rollout, ADVANTAGES * off.exp().clamp(max=2.0))
    found, figures = gradient(base, shifted, importance_cap=2.0)
    assert_near(found, expected)
    torch.testing.assert_close(figures["mismatch"], off.abs() * MASK, atol=1e-4, rtol=0)


def test_the_entropy_bonus_goes_up_the_entropy(base: SharedBase) -> None:
    rollout, entropies = rollout_of(base), []
    state = TrainState(MasterWeights((1e-3, base.parameters(ADAPTER))))
    config = BASIC.model_copy(update={"entropy_bonus": 0.5, "learning_rate": 1e-3})
    for _ in range(5):
        figures = update(config, base, rollout, torch.zeros_like(MASK), state, Accelerator(cpu=True))
        entropies.append(float(figures["entropy"].sum()))
    assert entropies == sorted(entropies)
    assert entropies[-1] > entropies[0] + 0.05


def test_several_epochs_hold_the_ratio_against_the_policy_before_the_first(base: SharedBase) -> None:
    rollout = rollout_of(base)
    for minibatches_ in (1, 2):
        _, figures = gradient(base, rollout, epochs=8, minibatches=minibatches_, warmup_steps=0, learning_rate=1e-2)
        assert figures["ratio_max"] > 1.2
        assert figures["clip_fraction"] > 0.1
    assert float(figures["mismatch"].max()) < 1e-4  # of the first epoch, before the policy moved
    _, free = gradient(base, rollout, epochs=8, warmup_steps=0, learning_rate=1e-2, clip=1e9)
    assert free["clip_fraction"] == 0


def test_recomputed_activations_give_the_same_gradient(base: SharedBase) -> None:
    rollout = rollout_of(base)
    assert_near(gradient(base, rollout, gradient_checkpointing=True)[0], gradient(base, rollout)[0])
    assert not base.base.is_activation_checkpointing
    assert not any(module.training for module in base.base.modules())


def test_layers_are_computed_twice_where_activations_are_recomputed(base: SharedBase) -> None:
    calls = []
    layer = base.base.model.layers[0].mlp
    layer.register_forward_pre_hook(lambda *_: calls.append(1))  # the second pass ends within the last layer
    for on in (False, True):
        with base.using(ADAPTER), checkpointed(base.base, on):
            response_logprobs(base, PROMPT_IDS, RESPONSES).logprobs.sum().backward()  # type: ignore[no-untyped-call]
    assert len(calls) == 1 + 2


@pytest.mark.parametrize("processes", [1, 2])
def test_minibatches_part_every_epoch_among_the_processes(processes: int) -> None:
    config = PolicyConfig(group=2, epochs=3, minibatches=4)
    shares = [[24, 25, 30, 31], [26, 27, 28, 29]] if processes == 2 else [list(range(24, 32))]
    rollouts = [Rollout(rows, [], [], *[MASK] * 4, torch.ones(4).bool(), {}) for rows in shares]
    updates = [list(minibatches(config, rollout, 3, 0, processes)) for rollout in rollouts]
    orders = []
    for epoch in range(3):
        batches = []
        for number in range(4):
            rows: list[int] = []
            for rollout, found in zip(rollouts, updates, strict=True):
                which, mine, n = found[4 * epoch + number]
                assert (which, n) == (epoch, 2)
                rows += [rollout.rows[place] for place in mine]
            assert len(rows) == 2
            assert rows[0] // 2 == rows[1] // 2  # answers to one prompt stay together
            batches.append(tuple(rows))
        assert sorted(row for batch in batches for row in batch) == list(range(24, 32))
        orders.append(tuple(batches))
    assert len(set(orders)) > 1


def test_long_responses_are_dealt_out_evenly() -> None:
    lengths = [9, 9, 1, 1, 8, 8, 2, 2]
    drawn = [
        SampledResponse(row, [1], Sample(0, [5] * length, [0.0] * length, "stop")) for row, length in enumerate(lengths)
    ]
    shares = split_among_processes(list(reversed(drawn)), 2, 2)
    assert [[one.row for one in share] for share in shares] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [sum(len(one.sample.response_ids) for one in share) for share in shares] == [20, 20]


def test_the_coefficient_begins_on_the_scale_of_the_rewards_and_follows_the_kl(
    tiny_model: Path, tmp_path: Path
) -> None:
    log = run(tiny_model, tmp_path, CONFIG.model_copy(update={"kl_target": 0.01, "steps": 6}))
    controller = AdaptiveKL(0.01, log[0]["score_spread"])
    for row in log:
        assert row["kl_coefficient"] == pytest.approx(controller.coefficient, rel=1e-4)
        controller = controller.after(row["kl"], 16)
    fixed = run(tiny_model, tmp_path / "fixed", CONFIG.model_copy(update={"kl_target": None, "steps": 2}))
    assert "kl_coefficient" not in fixed[0]


def test_rewards_are_normalised_clipped_and_charged_for_length(tiny_model: Path, tmp_path: Path) -> None:
    settings = {"kl_coefficient": 0.0, "steps": 1}
    plain = run(tiny_model, tmp_path / "plain", CONFIG.model_copy(update=settings))[0]
    assert plain["reward"] == pytest.approx(plain["score"])
    assert plain["tokens"] == pytest.approx(16 * plain["length"])
    charged = run(tiny_model, tmp_path / "charged", CONFIG.model_copy(update=settings | {"length_penalty": 0.1}))[0]
    assert charged["reward"] == pytest.approx(charged["score"] - 0.1 * charged["length"])
    settings |= {"normalise_rewards": True}
    normal = run(tiny_model, tmp_path / "normal", CONFIG.model_copy(update=settings))[0]
    assert normal["reward"] == pytest.approx(0, abs=1e-5)
    assert normal["score"] == plain["score"]
    assert normal["advantage_std"] > plain["advantage_std"]


def test_a_stop_string_ends_responses_that_then_count_as_finished(tiny_model: Path, tmp_path: Path) -> None:
    log = run(tiny_model, tmp_path, CONFIG.model_copy(update={"steps": 1, "stop": tuple("aeiou")}))
    free = run(tiny_model, tmp_path / "free", CONFIG.model_copy(update={"steps": 1}))
    assert log[0]["length"] < free[0]["length"]
    assert log[0]["finish_rate"] > free[0]["finish_rate"]
