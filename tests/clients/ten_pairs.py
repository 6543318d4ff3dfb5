"""Ten pairs of responses that several programs score: chosen and rejected in turn, twenty scores."""

from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from foundation.files import read_rows, write_jsonl
from pipeline import tools
from pipeline.config.config import load_config
from tests.reward_model.planted import planted

PAIRS = planted(10, seed=5)
PROMPTS = [pair["prompt"] for pair in PAIRS for _ in ("chosen", "rejected")]
COMPLETIONS = [pair[side] for pair in PAIRS for side in ("chosen", "rejected")]


def by_rlhf(reward: Path, folder: Path) -> torch.Tensor:
    """What `rlhf score` writes, in float32."""
    rows = [
        {"prompt": prompt, "response": said[0]["content"]} for prompt, said in zip(PROMPTS, COMPLETIONS, strict=True)
    ]
    write_jsonl(folder / "rows.jsonl", rows)
    config = load_config(None, ["dtype=float32", "device=cpu"], {})
    tools.score(
        config, Console(quiet=True), reward_folder=reward, file=folder / "rows.jsonl", out=folder / "scores.jsonl"
    )
    return torch.tensor([row["score"] for row in read_rows(folder / "scores.jsonl")])


def rendered(tokenizer: Any) -> list[str]:
    """The twenty conversations as a client has its tokenizer render them."""
    return [
        tokenizer.apply_chat_template(prompt + said, tokenize=False)
        for prompt, said in zip(PROMPTS, COMPLETIONS, strict=True)
    ]
