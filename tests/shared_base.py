"""A shared base on the tiny model, and adapters that are not zero, for the tests of several packages."""

from pathlib import Path

import torch
from transformers import AutoTokenizer, OPTConfig, OPTForCausalLM

from backbone.adapters import SharedBase, lora_config
from backbone.exactness import load_shared_base

PROMPTS = [[1, 5, 6, 7, 8], [1, 200, 30], [1, 9, 10, 11, 12, 13, 14, 15, 16], [1, 44]]


def load(model: Path) -> SharedBase:
    """The model on the CPU in fp32."""
    return load_shared_base(str(model), "float32", "cpu")


def save_opt(folder: Path, tiny_model: Path, dropout: float) -> Path:
    """A random OPT with the tiny model's tokenizer; in training mode its layers call dropout as a function."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.save_pretrained(folder)
    config = OPTConfig(
        vocab_size=len(tokenizer), hidden_size=32, word_embed_proj_dim=32, ffn_dim=64, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=256, dropout=dropout, attention_dropout=dropout,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        OPTForCausalLM(config).save_pretrained(folder)
    return folder


def add_random_adapter(base: SharedBase, name: str, *, seed: int = 1, rank: int = 4, trainable: bool = False) -> None:
    """An adapter whose B is random too, so that it changes the logits visibly."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        base.add_adapter(name, lora_config(rank, 2 * rank), trainable=trainable)
        with torch.no_grad():
            for parameter in base.parameters(name).values():
                parameter.normal_(std=0.3)


@torch.no_grad()
def logits(base: SharedBase, ids: list[int]) -> torch.Tensor:
    """Logits under the active adapter: (length, vocabulary)."""
    row = torch.tensor([ids])
    return base.lm_head(base.hidden_states(row, torch.ones_like(row)))[0]
