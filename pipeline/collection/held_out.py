"""What held-out prompts are kept from, and which prompts were learned from all the same: those measure nothing.

A prompt may have been labelled before it was held out, by an import, or because somebody typed it. Prompts are compared
by their messages, for a row of labels may have no id of its prompt, and by their conversations: one that goes on with
another, or that another goes on with, has its topic, and maybe answers that were judged there.
"""

from collections.abc import Sequence

from foundation.files import Row, content_id, read_rows
from pipeline.collection.prompts import HELD_OUT, TRAIN, source_name
from pipeline.config.config import Config
from pipeline.runs.folder import Run
from pipeline.runs.manifest import StageRecord
from policy.config import OFFLINE
from reward_model.labels.records import conversation_key, prompt_key
from reward_model.labels.splits import HeldOut, crowded, held_out_conversations, is_among, split_by_prompt, trained_on


def held_out(run: Run) -> HeldOut:
    """What the round's prompts.jsonl holds out; nothing before it is made."""
    return _held_out_of(_prompts(run))


def kept_for_measuring(run: Run, config: Config) -> HeldOut:
    """That of it whose labels no reward may be fitted to.

    Nothing if the prompts are those of imported labels: their split is the reward model's own, which measures on them.
    """
    return HeldOut() if source_name(run, config) == "labels" else held_out(run)


def joined(pairs: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    """Rows of preferences.jsonl and of other_labels.jsonl, each judgement once."""
    ranked = any("ranks" in row for row in others)  # whole rankings say all that their pairs say
    return [*(row for row in pairs if not (ranked and row["origin"] == "ranking")), *others]


def without(rows: Sequence[Row], held_out: HeldOut) -> tuple[list[Row], dict[str, str]]:
    """The rows of labels that are not about these prompts, and what the stage depends on besides: which had labels."""
    kept = [row for row in rows if row["prompt"] not in held_out]
    labelled = sorted({prompt_key(row["prompt"]) for row in rows} - {prompt_key(row["prompt"]) for row in kept})
    return kept, {"held_out_labels": content_id(labelled)} if labelled else {}


def preference_rows(run: Run) -> tuple[list[Row], dict[str, str]]:
    """The pairs that DPO learns from, those of held-out prompts left out, and what that depends on besides."""
    return without(read_rows(run.folder / "preferences.jsonl"), held_out(run))


def say_left_out(run: Run, stage: str, rows: Sequence[Row], kept: Sequence[Row]) -> None:
    """Say how many labels a stage does not learn from because their prompts are held out."""
    if len(kept) < len(rows):
        prompts = {prompt_key(row["prompt"]) for row in rows} - {prompt_key(row["prompt"]) for row in kept}
        run.say(
            f"{stage}: {len(rows) - len(kept)} labels of {len(prompts)} held-out prompts are left out: nothing is "
            "trained on those prompts, nor on others of their conversations."
        )


def splits(run: Run, rows: Sequence[Row], by_prompt: bool) -> dict[str, int]:
    """How many prompts are for training and how many held out, and how many conversations, by which they were split.

    Says where one conversation has much of them.
    """
    if said := crowded(row["prompt"] for row in rows):
        run.say(f"prompts: {said}")
    sides = {split: sum(row["split"] == split for row in rows) for split in (TRAIN, HELD_OUT)}
    return sides if by_prompt else sides | {"conversations": len({conversation_key(row["prompt"]) for row in rows})}


def learned_from(run: Run) -> list[tuple[set[str], str]]:
    """The keys of conversations that nothing of the round may be measured on, each with what was trained on them."""
    return [(tuned_on(run), "the policy was tuned"), (rewarded_on(run), "the reward model was trained")]


def measurable_conversations(run: Run) -> set[str]:
    """The keys of held-out conversations less those that were learned from; some may be too long for the model."""
    learned = set[str]().union(*(keys for keys, _ in learned_from(run)))
    found = [row["prompt"] for row in _prompts(run) if row["split"] == HELD_OUT]
    return {conversation_key(prompt) for prompt in found if not is_among(prompt, learned)}


def tuned_on(run: Run) -> set[str]:
    """The keys of conversations that policies of this round and of those before were tuned on, as far as is known."""
    found: set[str] = set()
    for at in (run.at(number) for number in run.rounds() if number <= run.round):
        policy = at.record("policy")
        if policy is None:
            continue
        rows = _used(at, policy, "prompts.jsonl")
        found |= {conversation_key(row["prompt"]) for row in rows if row["split"] == TRAIN}
        if policy.basis.config.get("algorithm") in OFFLINE:
            learned, _ = without(_used(at, policy, "preferences.jsonl"), _held_out_of(rows))
            found |= {conversation_key(row["prompt"]) for row in learned}
    return found


def rewarded_on(run: Run) -> set[str]:
    """The keys of conversations that the round's reward model was trained on, as far as is known."""
    made, folder = run.record("reward"), run.folder / "reward"
    if made is None or not folder.is_dir():
        return set()
    kept = trained_on(folder)
    if kept is not None and not split_by_prompt(folder):
        return kept
    # Folders of earlier versions have the keys of prompts, or say nothing: they were trained on all labels but those of
    # their own split. The labels say to which conversations the prompts belong.
    prompts = [row["prompt"] for name in ("preferences.jsonl", "other_labels.jsonl") for row in _used(run, made, name)]
    if kept is None and prompts:
        every = [prompt_key(prompt) for prompt in prompts]
        kept = set(every) - held_out_conversations(every, made.basis.config["held_out"], made.basis.seed)
    return (kept or set()) | {conversation_key(prompt) for prompt in prompts if prompt_key(prompt) in (kept or set())}


def _held_out_of(rows: Sequence[Row]) -> HeldOut:
    train, held_out = ([row["prompt"] for row in rows if row["split"] == split] for split in (TRAIN, HELD_OUT))
    return HeldOut.of(train, held_out)


def _prompts(run: Run) -> list[Row]:
    """The rows of the round's prompts.jsonl; none before it is made."""
    file = run.folder / "prompts.jsonl"
    return read_rows(file) if run.record("prompts") and file.is_file() else []


def _used(run: Run, by: StageRecord, output: str) -> list[Row]:
    """The rows of an output of the round, present or superseded, that a stage was made from; none if it is gone."""
    manifest = run.manifest()
    for record in (*manifest.superseded, *manifest.stages.values()):
        used = by.basis.inputs.get(f"{run.folder.name}/{output}") == record.output_sha256
        if used and (run.folder / record.output).is_file():
            return read_rows(run.folder / record.output)
    return []
