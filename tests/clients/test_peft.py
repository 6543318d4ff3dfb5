"""PEFT's own ways with several adapters work on ours: side by side, swapped, weighed, merged, off."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.utils.hotswap import hotswap_adapter
from transformers import AutoModelForCausalLM

from tests.clients.exporting import export
from tests.shared_base import load
from tests.shared_base import logits as of_shared_base

IDS = [1, 5, 6, 7, 200, 9, 2]


@pytest.fixture(scope="module")
def other(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second export for the same base."""
    return export(tiny_model, tmp_path_factory.mktemp("other") / "export", seed=2)


@pytest.fixture(scope="module")
def expected(tiny_model: Path, adapter: Path, other: Path) -> dict[str, torch.Tensor]:
    """Logits that this project computes: of the base, and under each adapter."""
    base = load(tiny_model)
    found = {"base": of_shared_base(base, IDS)}
    for name, folder in (("one", adapter), ("other", other)):
        base.load_adapter(name, folder)
        with base.using(name):
            found[name] = of_shared_base(base, IDS)
    return found


@pytest.fixture
def model(tiny_model: Path, adapter: Path) -> Any:
    """The base by transformers, with the first adapter by PEFT."""
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    return PeftModel.from_pretrained(base, adapter, adapter_name="one").eval()


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(torch.tensor([IDS])).logits[0]
    return found


def same(found: torch.Tensor, expected: torch.Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(found, expected, atol=atol, rtol=0)


def test_two_adapters_take_turns_on_one_base(model: Any, other: Path, expected: dict[str, torch.Tensor]) -> None:
    model.load_adapter(other, "other")
    for name in ("other", "one"):
        model.set_adapter(name)
        same(logits(model), expected[name])
    with model.disable_adapter():
        same(logits(model), expected["base"])
    assert all((expected[one] - expected[two]).abs().max() > 0.01 for one, two in (("one", "other"), ("base", "one")))


def test_an_adapter_is_swapped_for_another_in_place(model: Any, other: Path, expected: dict[str, torch.Tensor]) -> None:
    hotswap_adapter(model, other, adapter_name="one", torch_device="cpu")
    same(logits(model), expected["other"])


def test_a_weighted_adapter_is_the_weighted_sum(model: Any, other: Path, expected: dict[str, torch.Tensor]) -> None:
    model.load_adapter(other, "other")
    model.add_weighted_adapter(["one", "other"], [0.75, 0.25], "both", combination_type="cat")
    layer = model.get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
    one, two, both = (layer.get_delta_weight(name) for name in ("one", "other", "both"))
    same(both, 0.75 * one + 0.25 * two, 1e-6)
    model.add_weighted_adapter(["one", "other"], [1.0, 0.0], "one again", combination_type="cat")
    model.set_adapter("one again")
    same(logits(model), expected["one"])


def test_merged_and_unloaded_it_is_the_policy(model: Any, expected: dict[str, torch.Tensor]) -> None:
    same(logits(model.merge_and_unload()), expected["one"], 1e-4)
