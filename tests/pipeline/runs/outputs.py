"""What the stages of these tests make."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_pairs(partial: Path) -> Mapping[str, Any]:
    (partial / "pairs.jsonl").write_text("{}\n")
    return {"pairs": 1}


def write_adapter(partial: Path) -> Mapping[str, Any]:
    (partial / "weights").mkdir()
    (partial / "weights" / "adapter.bin").write_text("trained")
    return {"accuracy": 0.75}


def must_not_run(partial: Path) -> Mapping[str, Any]:
    raise AssertionError("the stage was made although it was whole")
