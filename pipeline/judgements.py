"""Judgements in and out of a run's label store: files that are imported, and rows that the trainers learn from."""

from pathlib import Path
from typing import Any

from rich.console import Console

from foundation.errors import UserError
from foundation.files import Row, read_rows, write_jsonl
from labeling_ui.exchange.answer_file import is_answer_file, take_answer_file
from labeling_ui.exchange.imports import ImportReport, import_file
from labeling_ui.store.store import Counts, Store
from pipeline.config.config import Config
from pipeline.runs.folder import Run
from pipeline.runs.label_store import label_store

_REFUSALS = 10  # shown


def import_judgements(
    run: Run, config: Config, console: Console, *, format: str, file: Path, gold: bool, out: Path | None
) -> ImportReport:
    """Bring a file's judgements into the run's campaign; `out` is where all that was refused is written."""
    with label_store(run, config) as store:
        if format == "answers" and is_answer_file(file):
            if gold:
                raise UserError(f"{file} says itself which of its tasks are gold: import it without --gold.")
            done = ImportReport(*take_answer_file(store, file))
        else:
            done = import_file(store, format, file, config.label.campaign, gold=gold)
    what = "gold tasks" if gold else "judgements"
    console.print(f"import: {done.taken} {what} taken, {done.already_there} were there already.")
    for refusal in done.refused[:_REFUSALS]:
        reason = "".join(letter if letter.isprintable() else "?" for letter in refusal.reason)  # it quotes the file
        console.print(f"  line {refusal.line}: {reason}", markup=False, soft_wrap=True)
    if len(done.refused) > _REFUSALS:
        console.print(f"  ... and {len(done.refused) - _REFUSALS} more refused; `--report FILE` writes them all.")
    if out:
        write_jsonl(out, ({"line": refusal.line, "reason": refusal.reason} for refusal in done.refused))
    return done


def write_preferences(store: Store, folder: Path) -> dict[str, Any]:
    """Write `folder/preferences.jsonl`; returns how many rows, and what gave none."""
    from labeling_ui.exchange.exports.preferences import preferences

    found, counts = preferences(store), store.counts()
    write_jsonl(folder / "preferences.jsonl", found.rows)
    return {
        "pairs": len(found.rows), "ties": found.ties, "both_bad": found.both_bad, "skipped": found.skipped,
        "split": found.split,
        "judgements": counts.judgements, "simulated_judgements": counts.simulated_judgements,
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
