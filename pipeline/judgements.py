"""Judgements out of a run's label store: the rows that the trainers learn from. `importing.py` brings them in."""

from pathlib import Path
from typing import Any

from foundation.errors import UserError
from foundation.files import Row, read_rows, write_jsonl
from labeling_ui.store.store import Counts, Store
from pipeline.runs.folder import Run


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
            f"the run {run.path} has no judgements yet. Get some: `rlhf collect` and `rlhf label --run {run.path}` "
            "ask people, `rlhf import --format FORMAT FILE` brings existing ones, `rlhf label --simulate` tries "
            "the loop out."
        )


def training_rows(run: Run, preferences: Path, other_labels: Path) -> list[Row]:
    """What the reward model learns from; `UserError` if there is nothing."""
    pairs, others = read_rows(preferences), read_rows(other_labels)
    ranked = any("ranks" in row for row in others)  # whole rankings say all that their pairs say
    rows = [row for row in pairs if not (ranked and row["origin"] == "ranking")] + others
    if not rows:
        raise UserError(f"none of the judgements in {run.path} prefers one response: there is nothing to learn from.")
    return rows
