"""What an adapter was made from, by hashes: prompts, candidates, labels, reward model, settings, versions, verdict.

It is read from the manifests, each input followed to the record of the stage that made it, whether that is the round's
present one or was set aside. An exported adapter carries its lineage along in `lineage.json`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from foundation.files import read_json, sha256_of
from pipeline.champion import promotion
from pipeline.champion.history import WEIGHTS, history
from pipeline.runs.folder import Run
from pipeline.runs.manifest import Manifest, StageRecord

LINEAGE = "lineage.json"


class Sources(NamedTuple):
    """The records of what a policy was made from: None for what was not used, or what no manifest knows any more."""

    prompts: StageRecord | None
    labels: StageRecord | None
    reward: StageRecord | None
    reward_sha256: str | None
    """Of the reward model that it was tuned towards; None if there was none."""
    judged: bool
    """Whether judgements made it, by a reward model or directly."""


def sources_of(run: Run, policy: StageRecord) -> Sources:
    """What a policy of this round was made from, whatever the round has made since."""
    manifest, name, inputs = run.manifest(), run.folder.name, policy.basis.inputs
    learned, pairs = inputs.get(f"{name}/reward"), f"{name}/preferences.jsonl"
    reward = _maker(manifest, "reward", learned, policy)
    user = reward or policy
    return Sources(
        prompts=_maker(manifest, "prompts", inputs.get(f"{name}/prompts.jsonl"), policy),
        labels=_maker(manifest, "preferences", user.basis.inputs.get(pairs), user),
        reward=reward,
        reward_sha256=learned,
        judged=learned is not None or pairs in inputs,
    )


def lineage_of(run: Run, policy: StageRecord) -> dict[str, Any]:
    """The lineage of a policy that the round of `run` made; what was not made, or is not known, is None."""
    manifest, name = run.manifest(), run.folder.name
    inputs = policy.basis.inputs
    prompts, labels, reward, *_ = sources_of(run, policy)
    collected, evaluated = _last_before(manifest, "collect", labels or policy), manifest.stages.get("evaluate")
    if evaluated and evaluated.basis.inputs.get(f"{name}/policy") != policy.output_sha256:
        evaluated = None
    weights = run.folder / policy.output / WEIGHTS
    return {
        "run": run.name,
        "round": run.round,
        "adapter": {
            "path": f"{name}/{policy.output}",
            "sha256": policy.output_sha256,
            "weights": sha256_of(weights) if weights.is_file() else None,
        },
        "model": {"name": policy.basis.config["model"], "sha256": policy.basis.content.get("model")},
        "began_with": next((each for each in inputs if not each.startswith(name) and "/" in each), None),
        "prompts": prompts and _told(prompts, source=prompts.basis.config["source"]),
        "candidates": collected and _told(collected),
        "labels": labels and _told(labels, label_set=labels.basis.extra["label_set"]),
        "reward_model": reward and _told(reward, settings=reward.basis.config),
        "policy": _told(policy, settings=policy.basis.config, seed=policy.basis.seed),
        "versions": policy.versions,
        "evaluation": evaluated and _told(evaluated),
        "verdict": _verdict(run, policy),
        "decisions": decided_on(run, policy),
    }


def decided_on(run: Run, policy: StageRecord) -> list[dict[str, Any]]:
    """What was decided about a policy so far, as its lineage says it."""
    return [
        each.model_dump(mode="json", include={"at", "action", "champion", "reason", "by"})
        for each in history(run)
        if each.is_about(policy.output_sha256)
    ]


def policies_of(run: Run) -> Iterator[tuple[Run, StageRecord]]:
    """Every policy of every round that is still there, those that were set aside last."""
    for number in run.rounds():
        at = run.at(number)
        manifest = at.manifest()
        for record in (*manifest.stages.values(), *manifest.superseded):
            if record.name == "policy" and (at.folder / record.output).is_dir():
                yield at, record


def recorded(folder: Path) -> dict[str, Any] | None:
    """The lineage that an exported adapter carries, if it is that of its weights."""
    path, weights = folder / LINEAGE, folder / WEIGHTS
    if not path.is_file() or not weights.is_file():
        return None
    found: dict[str, Any] = read_json(path)
    return found if found["adapter"]["weights"] == sha256_of(weights) else None


def _verdict(run: Run, policy: StageRecord) -> dict[str, Any] | None:
    path = run.folder / promotion.VERDICT
    found: dict[str, Any] = read_json(path) if path.is_file() else {}
    if not found or found["candidate"]["sha256"] != policy.output_sha256:
        return None
    names = ("outcome", "by", "champion", "judgements", "prompts", "win_rate", "interval", "e_value")
    return {"sha256": sha256_of(path)} | {name: found[name] for name in names}


def _told(record: StageRecord, **more: Any) -> dict[str, Any]:
    return {"sha256": record.output_sha256, "finished": record.finished, **more, "figures": record.figures}


def _maker(manifest: Manifest, stage: str, sha256: str | None, user: StageRecord) -> StageRecord | None:
    """The stage's record of what has this hash. Other labels may give the same file: the last before `user` used it."""
    made = [each for each in _every(manifest, stage) if sha256 and each.output_sha256 == sha256]
    there = [each for each in made if each.finished <= user.started]
    return next(reversed(there or made), None)


def _last_before(manifest: Manifest, stage: str, user: StageRecord) -> StageRecord | None:
    """The record of the stage's last output that was there when `user` was begun."""
    made = [each for each in _every(manifest, stage) if each.finished <= user.started]
    return next(reversed(made), None)


def _every(manifest: Manifest, stage: str) -> list[StageRecord]:
    """All records of the stage, in the order in which they were made."""
    return [each for each in (*manifest.superseded, *manifest.stages.values()) if each.name == stage]
