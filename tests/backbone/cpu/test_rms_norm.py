"""Fused RMS norms compute what those of transformers do."""

import pytest
import torch
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from backbone.cpu.rms_norm import FusedRMSNorm, fuse_norms


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_norms_and_their_gradients_are_those_of_transformers(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    theirs = LlamaRMSNorm(12).to(dtype)
    torch.nn.init.normal_(theirs.weight)
    ours = torch.nn.ModuleList([LlamaRMSNorm(12).to(dtype)])
    ours.load_state_dict({"0.weight": theirs.weight})
    fuse_norms(ours)
    assert type(ours[0]) is FusedRMSNorm
    x = torch.randn(2, 5, 12, dtype=dtype, requires_grad=True)
    along = torch.randn(2, 5, 12, dtype=dtype)
    assert torch.equal(ours[0](x), theirs(x))
    near = {"atol": 0.05, "rtol": 0.02} if dtype == torch.bfloat16 else {"atol": 1e-5, "rtol": 1e-5}
    for found, expected in zip(
        torch.autograd.grad(ours[0](x), (x, ours[0].weight), along),
        torch.autograd.grad(theirs(x), (x, theirs.weight), along),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, **near)


def test_norms_of_another_form_stay_as_they_are() -> None:
    class ShiftedRMSNorm(LlamaRMSNorm):
        def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
            return super().forward(hidden_states) + hidden_states

    model = torch.nn.ModuleList([ShiftedRMSNorm(12), GemmaRMSNorm(12)])
    fuse_norms(model)
    assert [type(module) for module in model] == [ShiftedRMSNorm, GemmaRMSNorm]
