"""The champion of a run: the base at first, then whichever adapter was promoted last and not rolled back.

`champion.json` is the history of all decisions. It only grows, each time written whole; the last decision says who the
champion is. An adapter is meant by its hash: a policy that was made anew since is another one, and the champion is then
found among the outputs that its round set aside. What a candidate must show is in `promotion.py`.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from foundation.errors import UserError
from foundation.files import read_json, sha256_of, write_json
from pipeline.config.config import Config
from pipeline.runs.content import content_of
from pipeline.runs.folder import Run
from pipeline.runs.manifest import StageRecord

BASE = "base"
WEIGHTS = "adapter_model.safetensors"


class Champion(NamedTuple):
    """What candidates are compared with: `adapter` and `sha256` are None for the base."""

    name: str
    """"base", or the round that made it, as in "round-000"."""
    adapter: Path | None
    sha256: str | None


class Decision(BaseModel):
    """One line of the history: what was decided, about which candidate, and who is the champion from then on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: str
    action: Literal["promoted", "kept", "rolled_back"]
    round: int
    """The run's round at that time; the next one starts from the champion."""
    candidate: str | None
    candidate_sha256: str | None
    champion: str
    sha256: str | None
    reason: str
    weights: str | None = None
    """sha256 of the champion's weights alone: the same in every run that makes the same adapter, at any speed."""
    verdict: str | None = None
    """sha256 of the verdict.json that decided, None if nobody was asked."""
    by: Literal["people", "simulated", "mixed", "nobody", "hand"]
    """Who voted: "mixed" are people and simulated annotators, "nobody" if every pair was settled without a vote."""
    basis: dict[str, Any] = {}
    """What else decided: hashes and limits. With the same, the same candidate is not decided on again."""

    def restores(self, sha256: str | None) -> bool:
        """Whether the adapter with this hash became champion again by it."""
        return self.action == "rolled_back" and sha256 is not None and self.sha256 == sha256

    def is_about(self, sha256: str | None) -> bool:
        """Whether it decides about the adapter with this hash: as a candidate, or as a champion of before."""
        return sha256 is not None and (self.candidate_sha256 == sha256 or self.restores(sha256))


def history(run: Run) -> list[Decision]:
    """Every decision so far, the oldest first; `UserError` if champion.json is damaged."""
    path = _path(run)
    if not path.exists():
        return []
    try:
        return [Decision.model_validate(each) for each in read_json(path)["history"]]
    except (UserError, ValidationError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read: {str(error).splitlines()[0]}\nPut it back from a copy. Without it the run has no "
            "champion but its base: `rlhf promote --force --reason ...` names one again."
        ) from error


def current(run: Run, config: Config | None = None) -> Champion:
    """The champion; with `config`, only if it belongs to the model that is configured.

    Raises `UserError` if its folder is gone or was changed, or if it was tuned on another model.
    """
    decided = history(run)
    if not decided:
        return Champion(BASE, None, None)
    last = decided[-1]
    return found(run, last.champion, last.sha256, config)


def found(run: Run, name: str, sha256: str | None, config: Config | None = None) -> Champion:
    """The adapter of the round `name` with this hash; raises as `current` does."""
    if sha256 is None:
        return Champion(BASE, None, None)
    at = run.at(int(name.removeprefix("round-")))
    record = _made(at, sha256)
    other = f"Put it back, or choose another champion: `rlhf rollback --run {run.argument} --to ROUND --reason ...`."
    if record is None or not (at.folder / record.output).is_dir():
        raise UserError(f"the champion is {name}, but {at.folder / 'policy'} is gone (sha256 {sha256}). {other}")
    folder = at.folder / record.output
    if (now := sha256_of(folder)) != sha256:
        raise UserError(
            f"the champion {name} was changed: {folder} had the sha256 {sha256} when it was chosen, and has {now} now. "
            f"{other}"
        )
    if config is not None:
        check_model(run, config, f"the champion {name}", record, other)
    return Champion(name, folder, sha256)


def before(decided: Sequence[Decision]) -> list[tuple[str, str | None]]:
    """Those that the champion after these decisions replaced, by name and hash, the last one last.

    A promotion adds its champion, and a rollback takes away all that came after the one that it goes back to.
    """
    stack: list[tuple[str, str | None]] = [(BASE, None)]
    for each in decided:
        champion = (each.champion, each.sha256)
        if each.action == "rolled_back" and champion in stack:
            del stack[stack.index(champion) + 1 :]
        elif champion != stack[-1]:
            stack.append(champion)
    return stack[:-1]


def weights_of(champion: Champion) -> str | None:
    """sha256 of the weights, which unlike the folder's holds no times; None for the base."""
    return sha256_of(champion.adapter / WEIGHTS) if champion.adapter else None


def check_model(run: Run, config: Config, what: str, record: StageRecord, other: str = "") -> None:
    """`UserError` if `what`, an adapter with this record, was tuned on another model than the one that is configured.

    They are compared by what is in their files where that is known, else by name; `other` is another way out.
    """
    before, used = str(record.basis.config["model"]), record.basis.content.get("model")
    present: Mapping[str, str] = content_of(run, config)() if used else {}
    if before == config.model and used == present.get("model", used):
        return
    if used and used == present.get("model"):
        return
    hashes = f" ({used[:12]} and {present['model'][:12]})" if used and "model" in present else ""
    raise UserError(
        f"{what} was tuned on the model {before}, and the configuration names {config.model}{hashes}: an adapter means "
        f"nothing on another base. Configure model={before}. {other}".rstrip()
    )


def append(run: Run, decision: Decision) -> None:
    """Add a decision, whole or not at all."""
    with run.lock():
        kept = [each.model_dump(mode="json") for each in (*history(run), decision)]
        write_json(_path(run), {"history": kept})


def now() -> str:
    """The time of a decision, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _path(run: Run) -> Path:
    return run.path / "champion.json"


def _made(run: Run, sha256: str) -> StageRecord | None:
    """How the policy with this hash was made: the round's present one, or one that was set aside."""
    manifest = run.manifest()
    made = [*manifest.stages.values(), *manifest.superseded]
    return next((each for each in made if each.name == "policy" and each.output_sha256 == sha256), None)
