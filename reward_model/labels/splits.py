"""Which prompts are held out: training, validation and test labels never share one."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from foundation.errors import UserError
from foundation.files import read_json, write_json
from reward_model.labels.reading import to_labels
from reward_model.labels.records import Label, Row

_TRAINED_ON = "trained_on.json"


def split_by_prompt(rows: Sequence[Row], held_out: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Split rows into `(train, held out)` so that a prompt is never in both; `held_out` is a share of the prompts."""
    keys = [label.prompt_key for label in to_labels(rows)]
    chosen = held_out_prompts(keys, held_out, seed)
    train = [row for row, key in zip(rows, keys, strict=True) if key not in chosen]
    return train, [row for row, key in zip(rows, keys, strict=True) if key in chosen]


def held_out_prompts(keys: Sequence[str], held_out: float, seed: int) -> set[str]:
    """Which prompts are held out: those whose hash with the seed, as a number in [0, 1), is below `held_out`.

    Each prompt is decided for itself, so that more labels never move one to the other side. If that would
    leave a side empty, the prompt nearest to the threshold changes sides.
    """
    places = {key: int(hashlib.sha256(f"{seed}:{key}".encode()).hexdigest(), 16) / 2**256 for key in keys}
    if len(places) < 2:
        raise UserError(
            f"there are preferences for only {len(places)} different prompts, so none can be held out to "
            "measure the reward model on. Label more prompts (`rlhf label`, `rlhf import --format FORMAT FILE`)."
        )
    ranked = sorted(places, key=lambda key: places[key])
    count = sum(place < held_out for place in places.values())
    return set(ranked[: min(max(count, 1), len(ranked) - 1)])


def say_trained_on(folder: Path, labels: Iterable[Label], initial: Path | None) -> None:
    """Write into a reward folder which prompts it was trained on, those of the adapter that it began at among them."""
    before = trained_on(initial) if initial else None
    write_json(folder / _TRAINED_ON, sorted({label.prompt_key for label in labels} | (before or set())))


def trained_on(folder: Path) -> set[str] | None:
    """The keys of the prompts that a reward model was trained on; None if its folder, of earlier versions, has none."""
    return set(read_json(folder / _TRAINED_ON)) if (folder / _TRAINED_ON).is_file() else None


def check_disjoint(train: Sequence[Row], held_out: Sequence[Row]) -> None:
    """Raise `UserError` if a prompt is in both splits: held-out accuracy would then mean nothing."""
    seen = {label.prompt_key for label in to_labels(train)}
    shared = {label.prompt_key: label for label in to_labels(held_out) if label.prompt_key in seen}
    if shared:
        text = next(iter(shared.values())).prompt[-1]["content"]
        raise UserError(
            f"{len(shared)} prompts are in both the training and the held-out split, among them {text[:80]!r}. "
            "Move all rows of a prompt to one side."
        )
