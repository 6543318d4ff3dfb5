"""A whole run on a tiny model: its prompts and settings, in this process or in one that may be killed."""

import json
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from foundation.files import write_jsonl
from pipeline.config.config import Config, load_config
from pipeline.runs.folder import Run
from tests.suite import forked

TOPICS = [
    "cat", "dog", "mat", "rain", "tea", "bread", "train", "moon", "garden", "chair", "river", "winter", "lamp",
    "song", "letter", "market", "bicycle", "soup", "window", "forest", "island", "clock", "pencil", "bridge",
]  # fmt: skip
TRAINING = 20


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def prompts_file(path: Path) -> Path:
    rows = [
        {"prompt": ask(f"tell me of the {topic}"), "split": "train" if number < TRAINING else "held_out"}
        for number, topic in enumerate(TOPICS)
    ]
    write_jsonl(path, rows)
    return path


def settings(model: Path, prompts: Path | str) -> list[str]:
    """Small enough for seconds, and with a checkpoint, a second batch or a second file in every stage."""
    return [
        f"model={model}", f"collect.prompts={prompts}", "dtype=float32", "device=cpu",
        "collect.candidates=3", "collect.sampling.max_new_tokens=8", "evaluate.sampling.max_new_tokens=8",
        "reward.learn=adapter", "reward.checkpoint_every=2", "reward.lora_rank=4",
        "policy.max_new_tokens=8", "policy.steps=4", "policy.prompts_per_step=4", "policy.group=2",
        "policy.checkpoint_every=2", "policy.learning_rate=0.02", "policy.lora_rank=4",
        "policy.accept_weak_reward=true",  # two random layers learn nothing from twenty prompts
    ]  # fmt: skip


def opened(run: Path, overrides: Sequence[str]) -> tuple[Run, Config, Console]:
    """What every stage takes; `printed` gives back what went to the console."""
    console = Console(file=StringIO(), width=200)
    config = load_config(None, overrides, {})
    return Run(run, seed=config.seed, say=lambda line: console.print(line, markup=False)), config, console


def printed(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def rlhf(*arguments: str | Path, log: Path, kill: tuple[str, int] | None = None) -> tuple[int, str]:
    """The command in a process of its own: its exit status (minus the signal that ended it) and what it printed.

    `kill` is a function (`module:name`) and the number of the call before which the process is killed with SIGKILL.
    """
    return forked.run(command, [str(each) for each in arguments], kill, log=log), log.read_text()


def command(arguments: list[str], kill: tuple[str, int] | None = None) -> None:
    """What `rlhf` does with these arguments, in a process that ends with it."""
    if kill:
        _kill_at(*kill)
    from pipeline.cli import commands as cli

    sys.argv = ["rlhf", *arguments]
    cli.main()


def _kill_at(name: str, call: int) -> None:
    module, _, path = name.partition(":")
    *owners, attribute = path.split(".")
    owner: Any = import_module(module)
    for each in owners:
        owner = getattr(owner, each)
    original, calls = getattr(owner, attribute), 0

    def counted(*positional: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*positional, **named)

    setattr(owner, attribute, counted)
