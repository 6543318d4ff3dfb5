"""What an adapter was made from, by hashes: prompts, candidates, labels, reward model, settings, versions, verdict.

It is read from the manifests, each input followed to the record of the stage that made it, whether that is the round's
present one or was set aside. An exported adapter carries its lineage along in `lineage.json`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from foundation.files import read_json, sha256_of
from pipeline.champion import promotion
from pipeline.champion.history import WEIGHTS, history
from pipeline.runs.folder import Run
from pipeline.runs.manifest import Manifest, StageRecord

LINEAGE = "lineage.json"


def lineage_of(run: Run, policy: StageRecord) -> dict[str, Any]:
    """The lineage of a policy that the round of `run` made; what was not made, or is not known, is None."""
    manifest, name = run.manifest(), run.folder.name
    inputs = policy.basis.inputs
    reward = _maker(manifest, inputs.get(f"{name}/reward"))
    labels = _maker(manifest, (reward or policy).basis.inputs.get(f"{name}/preferences.jsonl"))
    prompts = _maker(manifest, inputs.get(f"{name}/prompts.jsonl"))
    collected, evaluated = (_named(manifest, stage) for stage in ("collect", "evaluate"))
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
        "decisions": [
            each.model_dump(mode="json", include={"at", "action", "champion", "reason", "by"})
            for each in history(run)
            if each.candidate_sha256 == policy.output_sha256
        ],
    }


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


def _maker(manifest: Manifest, sha256: str | None) -> StageRecord | None:
    """The record of what has this hash."""
    made = (*manifest.stages.values(), *manifest.superseded)
    return next((each for each in made if sha256 and each.output_sha256 == sha256), None)


def _named(manifest: Manifest, stage: str) -> StageRecord | None:
    return manifest.stages.get(stage)
