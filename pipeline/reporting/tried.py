"""What was tried in a round: every policy that was evaluated as the present one was, beside it.

So RLOO on the reward model and DPO on the same labels are compared on the same held-out prompts by the same judge:
`rlhf policy` and `rlhf evaluate`, twice, with other settings; and so is any other setting.
"""

import re
from typing import Any

from pipeline.config.sources import flat
from pipeline.reporting.cautions import evaluation_of
from pipeline.reporting.data import Rate, Tried
from pipeline.runs.fingerprint import Basis
from pipeline.runs.folder import Run
from pipeline.runs.manifest import StageRecord

_POLICY = re.compile(r"round-\d{3}/policy")


def tried_in(run: Run) -> tuple[Tried, ...]:
    """The present policy and those of the round before it, the newest first; nothing if there is only one.

    Those whose prompts, sampling, judges or reward model were others do not compare and are left out.
    """
    manifest = run.manifest()
    present, made = manifest.stages.get("evaluate"), (*manifest.superseded, *manifest.stages.values())
    if present is None or evaluation_of(run) is None:
        return ()
    policies = {record.output_sha256: record for record in made if record.name == "policy"}
    judged = {_policy(record): record for record in made if record.name == "evaluate"}  # the last of each policy's
    alike = [sha for sha, each in judged.items() if sha in policies and _judging(each).same_as(_judging(present))]
    settings = {sha: flat(policies[sha].basis.config | {"seed": policies[sha].basis.seed}) for sha in alike}
    if len(alike) < 2:
        return ()
    differing = [key for key in settings[alike[0]] if len({str(each.get(key)) for each in settings.values()}) > 1]
    return tuple(
        _row(judged[sha], _named(settings[sha], differing), present=judged[sha] == present) for sha in reversed(alike)
    )


def _named(settings: dict[str, Any], differing: list[str]) -> str:
    others = [f"{key}={settings.get(key)}" for key in differing if key != "algorithm"]
    return ", ".join([str(settings.get("algorithm")), *others])


def _row(record: StageRecord, name: str, *, present: bool) -> Tried:
    found = record.figures
    rate = Rate(
        name=found["judge"], value=found["win_rate"], low=found["low"], high=found["high"], n=found["n"],
        simulated=found["judge"].startswith("simulated"),
    )  # fmt: skip
    figures = {key: found.get(key) for key in ("mean_kl", "words_ratio", "distinct2_ratio")}
    return Tried(name=name, rate=rate, present=present, **figures)


def _policy(record: StageRecord) -> str:
    """The hash of the policy that was evaluated."""
    return next((sha for name, sha in record.basis.inputs.items() if _POLICY.fullmatch(name)), "")


def _judging(record: StageRecord) -> Basis:
    """How it was evaluated, whatever was."""
    inputs = {name: sha for name, sha in record.basis.inputs.items() if not _POLICY.fullmatch(name)}
    return record.basis.model_copy(update={"inputs": inputs})
