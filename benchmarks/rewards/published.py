"""The published preferences that reward models are measured on, and which of their pairs take part."""

import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backbone.loading.model_name import resolve_model
from backbone.loading.models import load_tokenizer
from backbone.tokens import Renderer
from labeling_ui.exchange.exports.preferences import preferences
from labeling_ui.exchange.imports import import_file
from labeling_ui.store.store import Store
from reward_model.labels.reading import read_pairs, to_pairs
from reward_model.labels.rendering import rendered
from reward_model.labels.splits import split_by_conversation

Row = Mapping[str, Any]

DATA = Path(__file__).parents[3] / "shared" / "data"
SETS = {
    "hh_harmless": ("hh", "hh_harmless.jsonl"),
    "oasst": ("oasst", "oasst_100_trees/ranked_pairs.jsonl"),
    "finegrained": ("finegrained", "finegrained_qa_feedback_dev/dev_feedback.json"),
}


def published(name: str, data: Path) -> list[Row]:
    """The decided pairs of one of `SETS` under the folder `data`; or of NAME=FILE, a file of preferences."""
    if "=" in name:
        return list(read_pairs(Path(name.partition("=")[2]))[0])
    if name not in SETS:
        sys.exit(f'"{name}" is none of {", ".join(SETS)}. Give a file of preferences as NAME=FILE.')
    format, file = SETS[name]
    if not (data / file).is_file():
        sys.exit(f"{data / file} is not there. Name the folder of the published data with --data, or give NAME=FILE.")
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(scratch) / "labels.db")
        import_file(store, format, data / file)
        rows = preferences(store).rows
        store.close()
    return [row for row in rows if row.get("p_chosen", 1.0) > 0.5]


def parts(
    rows: Sequence[Row], model: str, longest: int, held_out: float, most: tuple[int, int], seed: int
) -> tuple[list[Row], list[Row]]:
    """Pairs to train on and to judge on: no conversation in both, drawn with `seed`, at most `most` of each.

    Only pairs take part of which either side has at most `longest` tokens, so that nobody has to cut or drop any.
    """
    renderer = Renderer.of(load_tokenizer(resolve_model(model)), sys.maxsize)
    both = [rendered(pair, renderer, sys.maxsize) for pair in to_pairs(rows)]
    lengths = [len(prompt) + max(map(len, responses)) for prompt, responses, _ in both]
    short = [row for row, length in zip(rows, lengths, strict=True) if length <= longest]
    train, test = split_by_conversation(short, held_out, seed)
    draw = random.Random(seed)
    found = [draw.sample(part, min(count, len(part))) for part, count in zip((train, test), most, strict=True)]
    return found[0], found[1]
