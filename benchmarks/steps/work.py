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
    """The first of the project's own prompts."""
    from foundation.files import read_jsonl
    from pipeline.collection.prompts import EVERYDAY

    return [row["prompt"] for _, row in read_jsonl(EVERYDAY)][:count]
