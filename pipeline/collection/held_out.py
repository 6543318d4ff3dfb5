"""What held-out prompts are kept from, and which prompts were learned from all the same: those measure nothing.

A prompt may have been labelled before it was held out, by an import, or because somebody typed it. Prompts are compared
by their messages: a row of labels may have no id of its prompt.
"""

from collections.abc import Sequence, Set

from foundation.files import Row, content_id, read_rows
from pipeline.collection.prompts import HELD_OUT, TRAIN, source_name
from pipeline.config.config import Config
from pipeline.runs.folder import Run
from pipeline.runs.manifest import StageRecord
from policy.config import OFFLINE
from reward_model.labels.records import prompt_key
from reward_model.labels.splits import split_by_prompt, trained_on


def held_out_keys(run: Run) -> set[str]:
    """The keys of the prompts that the round's prompts.jsonl holds out; none before it is made."""
    made = run.record("prompts")
    file = run.folder / "prompts.jsonl"
    if made is None or not file.is_file():
        return set()
    return {prompt_key(row["prompt"]) for row in read_rows(file) if row["split"] == HELD_OUT}


def kept_for_measuring(run: Run, config: Config) -> set[str]:
    """Those of them whose labels no reward may be fitted to.

    None if the prompts are those of imported labels: their split is the reward model's own, which measures on them.
    """
    return set() if source_name(run, config) == "labels" else held_out_keys(run)


def joined(pairs: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    """Rows of preferences.jsonl and of other_labels.jsonl, each judgement once."""
    ranked = any("ranks" in row for row in others)  # whole rankings say all that their pairs say
    return [*(row for row in pairs if not (ranked and row["origin"] == "ranking")), *others]


def without(rows: Sequence[Row], held_out: Set[str]) -> tuple[list[Row], dict[str, str]]:
    """The rows of labels that are not about these prompts, and what the stage depends on besides: which had labels."""
    keys = [prompt_key(row["prompt"]) for row in rows]
    labelled = sorted(held_out & set(keys))
    kept = [row for row, key in zip(rows, keys, strict=True) if key not in held_out]
    return kept, {"held_out_labels": content_id(labelled)} if labelled else {}


def preference_rows(run: Run) -> tuple[list[Row], dict[str, str]]:
    """The pairs that DPO learns from, those of held-out prompts left out, and what that depends on besides."""
    return without(read_rows(run.folder / "preferences.jsonl"), held_out_keys(run))


def say_left_out(run: Run, stage: str, rows: Sequence[Row], kept: Sequence[Row]) -> None:
    """Say how many labels a stage does not learn from because their prompts are held out."""
    if len(kept) < len(rows):
        prompts = {prompt_key(row["prompt"]) for row in rows} - {prompt_key(row["prompt"]) for row in kept}
        run.say(
            f"{stage}: {len(rows) - len(kept)} labels of {len(prompts)} held-out prompts are left out: nothing is "
            "trained on those prompts."
        )


def learned_from(run: Run) -> list[tuple[set[str], str]]:
    """The keys of prompts that nothing of the round may be measured on, each with what was trained on them."""
    return [(tuned_on(run), "the policy was tuned"), (rewarded_on(run), "the reward model was trained")]


def measurable_keys(run: Run) -> set[str]:
    """The keys of the held-out prompts less those that were learned from; some may be too long for the model."""
    return held_out_keys(run).difference(*(keys for keys, _ in learned_from(run)))


def tuned_on(run: Run) -> set[str]:
    """The keys of the prompts that policies of this round and of those before were tuned on, as far as is known."""
    found: set[str] = set()
    for at in (run.at(number) for number in run.rounds() if number <= run.round):
        policy = at.record("policy")
        if policy is None:
            continue
        rows = _used(at, policy, "prompts.jsonl")
        found |= {prompt_key(row["prompt"]) for row in rows if row["split"] == TRAIN}
        if policy.basis.config.get("algorithm") in OFFLINE:
            held_out = {prompt_key(row["prompt"]) for row in rows if row["split"] == HELD_OUT}
            found |= {prompt_key(row["prompt"]) for row in _used(at, policy, "preferences.jsonl")} - held_out
    return found


def rewarded_on(run: Run) -> set[str]:
    """The keys of the prompts that the round's reward model was trained on, as far as is known."""
    made = run.record("reward")
    if made is None or not (run.folder / "reward").is_dir():
        return set()
    kept = trained_on(run.folder / "reward")
    if kept is not None:
        return kept
    # Reward folders of earlier versions do not say. They were trained on all labels but those of their own split.
    rows = joined(*(_used(run, made, name) for name in ("preferences.jsonl", "other_labels.jsonl")))
    if not rows:
        return set()
    learned, _ = split_by_prompt(rows, made.basis.config["held_out"], made.basis.seed)
    return {prompt_key(row["prompt"]) for row in learned}


def _used(run: Run, by: StageRecord, output: str) -> list[Row]:
    """The rows of an output of the round, present or superseded, that a stage was made from; none if it is gone."""
    manifest = run.manifest()
    for record in (*manifest.superseded, *manifest.stages.values()):
        used = by.basis.inputs.get(f"{run.folder.name}/{output}") == record.output_sha256
        if used and (run.folder / record.output).is_file():
            return read_rows(run.folder / record.output)
    return []
