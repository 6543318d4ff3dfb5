"""The work of one step, which both sides do."""

from typing import NamedTuple


class Setting(NamedTuple):
    """The work of one step, and in which dtype."""

    prompts: int
    group: int
    tokens: int
    dtype: str = "bfloat16"
    forced: bool = True


def everyday_prompts(count: int) -> list[list[dict[str, str]]]:
    """The first of the benchmarks' prompts."""
    from benchmarks.optimising.prompts import PROMPTS
    from foundation.files import read_jsonl

    return [row["prompt"] for _, row in read_jsonl(PROMPTS)][:count]
