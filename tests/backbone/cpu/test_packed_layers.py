"""Layers laid out for decoding compute what they compute otherwise, and are as before when that is over."""

import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from torch import Tensor, nn

import backbone.cpu.packed_layers as module
from backbone.cpu.packed_layers import packed
from backbone.exactness import load_shared_base
from backbone.sampling import copied_bytes, sample
from backbone.sampling_config import SamplingConfig

pytestmark = pytest.mark.skipif(not module._supported(), reason="oneDNN computes no bf16 here")

IDS = torch.tensor([[1, 5, 6, 7, 8, 9], [9, 8, 7, 6, 5, 1]])


class _Attention(nn.Module):
    """Projections that read one input, two, or one that changes on the way."""

    def __init__(self, *, bias: bool = False) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(32, n, bias=bias) for n in (32, 16, 16))

    def forward(self, x: Tensor, read: Callable[[Tensor], Tensor] = lambda x: x) -> list[Tensor]:
        query = self.q_proj(x).clone()
        other = read(x)
        return [query, self.k_proj(other), self.v_proj(other)]


def _close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.float(), expected.float(), atol=0.02 * float(expected.float().abs().max()), rtol=0)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("read", [lambda x: x, lambda x: 2 * x, lambda x: x.mul_(2)], ids=["same", "other", "in place"])
def test_layers_side_by_side(read: Callable[[Tensor], Tensor], bias: bool) -> None:
    torch.manual_seed(0)
    model, x = _Attention(bias=bias).to(torch.bfloat16), torch.randn(3, 1, 32, dtype=torch.bfloat16)
    with torch.no_grad():
        expected = model(x.clone(), read)
        with packed(model):
            for _ in range(2):
                for found, wanted in zip(model(x.clone(), read), expected, strict=True):
                    _close(found, wanted)
        assert not any("forward" in vars(layer) for layer in model.modules())
    model(x)[1].sum().backward()
    assert model.k_proj.weight.grad is not None


def test_in_inference_mode() -> None:
    model = _Attention().to(torch.bfloat16)
    with torch.inference_mode(), packed(model):
        x = torch.randn(3, 32, dtype=torch.bfloat16)
        found = model(x)
    _close(found[2], model.v_proj(x.clone()).detach())


def test_nothing_is_kept_of_what_was_computed() -> None:
    kept: list[weakref.ref[Tensor]] = []
    model = _Attention().to(torch.bfloat16)
    with torch.no_grad(), packed(model):
        x = torch.randn(3, 32, dtype=torch.bfloat16)
        found = model(x)
        kept += [weakref.ref(each) for each in (x, *found[1:])]
        del x, found
        assert all(each() is None for each in kept)


def test_a_layer_that_is_asked_twice_answers_twice() -> None:
    model = _Attention().to(torch.bfloat16)
    x = torch.randn(3, 32, dtype=torch.bfloat16)
    with torch.no_grad():
        expected = model.k_proj(x)
        with packed(model):
            for _ in range(3):
                _close(model.k_proj(x), expected)


def test_one_product_computes_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    product = module._product
    monkeypatch.setattr(module, "_product", lambda *given: (asked.append(1), product(*given))[1])
    model = _Attention().to(torch.bfloat16)
    with torch.no_grad(), packed(model):
        model(torch.randn(3, 32, dtype=torch.bfloat16))
    assert len(asked) == 1


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj", "down_proj"], ["o_proj"]])
@pytest.mark.parametrize("active", ["one", None])
def test_with_adapters(tiny_model: Path, targets: str | list[str], active: str | None) -> None:
    base = load_shared_base(str(tiny_model), "bfloat16", "cpu")
    torch.manual_seed(0)
    for name, rank in (("one", 3), ("other", 2)):
        base.add_adapter(name, LoraConfig(r=rank, lora_alpha=7, target_modules=targets))
        for weight in base.parameters(name).values():
            weight.data.normal_(0, 0.1)
    with torch.no_grad(), base.using(active):
        expected = base.base(IDS).logits
        with packed(base.base):
            _close(base.base(IDS).logits, expected)
            assert sum("forward" in vars(layer) for layer in base.base.modules()) > 7
        torch.testing.assert_close(base.base(IDS).logits, expected, atol=0, rtol=0)
    with torch.no_grad(), base.using(None):
        plain = base.base(IDS).logits
    assert active is None or (plain - expected).abs().max() > 0.1


def test_what_is_merged_is_laid_out_too(tiny_model: Path) -> None:
    base = load_shared_base(str(tiny_model), "bfloat16", "cpu")
    base.add_adapter("one", LoraConfig(r=3, lora_alpha=7, target_modules=["q_proj", "v_proj", "down_proj"]))
    torch.manual_seed(0)
    for weight in base.parameters("one").values():
        weight.data.normal_(0, 0.1)
    with base.using("one"), torch.no_grad():
        expected = base.base(IDS).logits
    with base.merged("one"), packed(base.base):
        _close(base.base(IDS).logits, expected)


def test_layers_that_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    hooked = nn.Linear(32, 16).to(torch.bfloat16)
    hooked.forward = lambda x: x  # type: ignore[method-assign]
    with packed(nn.ModuleList([hooked, nn.Linear(32, 16)])) as _:
        pass
    assert hooked(IDS) is IDS
    with packed(model := nn.ModuleList([nn.Linear(32, 16)])):
        assert "forward" not in vars(model[0])
    monkeypatch.setattr(module, "_MOST", 100)
    with packed(model := nn.ModuleList([nn.Linear(32, 16).to(torch.bfloat16)])):
        assert "forward" not in vars(model[0])


def test_long_samples_are_drawn_this_way(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = load_shared_base(str(tiny_model), "bfloat16", "cpu")
    asked: list[int] = []
    product = module._product
    monkeypatch.setattr(module, "_product", lambda *given: (asked.append(1), product(*given))[1])
    for tokens, many in ((4, False), (32, True)):
        sample(base, [[1, 2, 3]], SamplingConfig(max_new_tokens=tokens), group=4)
        assert bool(asked) == many


def test_bytes_of_the_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _Attention().to(torch.bfloat16)
    model.norm = nn.LayerNorm(32).to(torch.bfloat16)
    assert copied_bytes(model, torch.device("cpu")) == 2 * 32 * 64
    assert copied_bytes(model, torch.device("cuda")) == copied_bytes(model.float(), torch.device("cpu")) == 0
    monkeypatch.setattr(module, "_MOST", 100)
    assert copied_bytes(model.to(torch.bfloat16), torch.device("cpu")) == 0
