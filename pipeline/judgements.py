"""Judgements out of a run's label store: the rows that the trainers learn from. `importing.py` brings them in."""

from pathlib import Path
from typing import Any

from foundation.errors import UserError
from foundation.files import Row, read_rows, write_jsonl
from labeling_ui.store.store import Counts, Store
from pipeline.collection.held_out import joined, kept_for_measuring, say_left_out, without
from pipeline.collection.prompts import TRAIN, more_prompts
from pipeline.config.config import Config
from pipeline.runs.folder import Run
from reward_model.labels.splits import crowded


def write_preferences(store: Store, folder: Path) -> dict[str, Any]:
    """Write `folder/preferences.jsonl`; returns how many rows, and what gave none."""
    from labeling_ui.exchange.exports.preferences import preferences
    from labeling_ui.quality.assessment import agreement

    agreed = agreement(store)
    counts, found = store.counts(), preferences(store)
    write_jsonl(folder / "preferences.jsonl", found.rows)
    return {
        "pairs": len(found.rows), "ties": found.ties, "both_bad": found.both_bad, "skipped": found.skipped,
        "split": found.split,
        "judgements": counts.judgements, "simulated_judgements": counts.simulated_judgements,
        "agreement": {"alpha": agreed.alpha, "low": agreed.low, "high": agreed.high}, "last_event": counts.last_event,
    }  # fmt: skip


def write_other_labels(store: Store, folder: Path) -> dict[str, Any]:
    """Write `folder/other_labels.jsonl`; returns how many of each kind."""
    from labeling_ui.exchange.exports.preferences import beyond_preferences

    rows = beyond_preferences(store)
    write_jsonl(folder / "other_labels.jsonl", rows)
    rankings, ratings, split = (sum(field in row for row in rows) for field in ("ranks", "score", "decided"))
    ties = len(rows) - rankings - ratings - split
    return {"ties": ties, "split": split, "rankings": rankings, "ratings": ratings}


def check_judged(run: Run, counts: Counts) -> None:
    """Refuse a run without judgements, and say how to get some."""
    if not counts.judgements:
        raise UserError(
            f"the run {run.path} has no judgements yet. Get some: `rlhf collect --run {run.argument}` and "
            f"`rlhf label --run {run.argument}` ask people, `rlhf import --format FORMAT FILE --run {run.argument}` "
            f"brings existing ones, `rlhf label --simulate --run {run.argument}` tries the loop out."
        )


def training_rows(run: Run, config: Config, preferences: Path, other_labels: Path) -> tuple[list[Row], dict[str, str]]:
    """What the reward model learns from, and what that depends on besides; `UserError` if there is nothing.

    Labels of held-out prompts are left out, of the measuring side too: a judge is fitted there (`held_out_judge.py`).
    """
    every = joined(read_rows(preferences), read_rows(other_labels))
    if not every:
        raise UserError(f"none of the judgements in {run.path} prefers one response: there is nothing to learn from.")
    rows, depends_on = without(every, kept_for_measuring(run, config))
    say_left_out(run, "reward", every, rows)
    if said := crowded(row["prompt"] for row in rows):
        run.say(f"reward: {said}")
    if not rows:
        raise UserError(
            f"all judgements in {run.path} are of prompts that are held out, which nothing is trained on. Label others "
            f"(`rlhf label`), or change the split: {more_prompts(run, config, TRAIN)}."
        )
    return rows, depends_on
