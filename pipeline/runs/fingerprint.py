"""What an output depends on: its basis. The fingerprint of the basis decides whether an output is up to date.

Inputs count by their content. An input inside the run is named by its path in the run, any other by its file name
alone: a run that was copied or moved, or whose prompts file is spelled differently, keeps its fingerprints.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from foundation import __version__
from foundation.errors import UserError
from foundation.files import sha256_of
from pipeline.config.sources import flat

_IN_A_ROUND = re.compile(r"round-\d{3}/")


class Basis(BaseModel):
    """Everything that an output depends on; two equal bases have the same fingerprint."""

    model_config = ConfigDict(frozen=True)

    stage: str
    inputs: dict[str, str]
    """sha256 of each input, by its name."""
    extra: dict[str, Any]
    config: dict[str, Any]
    seed: int
    version: str = __version__

    @field_validator("inputs", mode="before")
    @classmethod
    def _portable(cls, inputs: Mapping[str, str]) -> dict[str, str]:
        """Names without folders outside the run, which older manifests hold."""
        return _named((name if _IN_A_ROUND.match(name) else PurePath(name).name, sha) for name, sha in inputs.items())

    @property
    def fingerprint(self) -> str:
        """sha256 of the basis in canonical JSON."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    def changes_since(self, old: "Basis") -> list[str]:
        """Say in words what differs from `old`, the most telling first."""
        both, added = self.inputs.keys() & old.inputs.keys(), self.inputs.keys() - old.inputs.keys()
        changes = [f"{name} changed" for name in sorted(both) if self.inputs[name] != old.inputs[name]]
        changes += [f"{name} is now used" for name in sorted(added)]
        changes += [f"{name} is no longer used" for name in sorted(old.inputs.keys() - self.inputs.keys())]
        now, then = flat({**self.extra, **self.config}), flat({**old.extra, **old.config})
        for key in sorted(now.keys() | then.keys()):
            if now.get(key) != then.get(key):
                changes.append(f"{key} was {_brief(then.get(key))}, is {_brief(now.get(key))}")
        if self.seed != old.seed:
            changes.append(f"seed was {old.seed}, is {self.seed}")
        if self.version != old.version:
            changes.append(f"rlhf-pipeline was {old.version}, is {self.version}")
        return changes


def is_up_to_date(made_from: Basis, now: Basis) -> bool:
    """Whether an output that was made from one basis is still what would be made from the other."""
    return made_from.fingerprint == now.fingerprint


def basis_of(
    stage: str,
    inputs: Sequence[Path],
    config: BaseModel | Mapping[str, Any],
    extra: Mapping[str, Any],
    seed: int,
    *,
    run: Path,
) -> Basis:
    """The basis of a stage's output in the run's folder; `UserError` if an input is missing."""
    hashes: list[tuple[str, str]] = []
    for path in inputs:
        if not path.exists():
            raise UserError(f"{stage} needs {path}, which does not exist. Run the stage that makes it first.")
        inside = in_run(path, run)
        hashes.append((inside or path.name, sha256_of(path)))
    settings = config.model_dump(mode="json") if isinstance(config, BaseModel) else config
    # Through JSON, so that it has the types of what is read from a manifest, with which it is compared.
    return Basis(
        stage=stage,
        inputs=_named(hashes),
        extra=json.loads(json.dumps(dict(extra))),
        config=json.loads(json.dumps(dict(settings))),
        seed=seed,
    )


def in_run(path: Path, run: Path) -> str | None:
    """The path relative to the run's folder, or None if it lies elsewhere."""
    for there, root in ((path, run), (path.resolve(), run.resolve())):
        if there.is_relative_to(root):
            return there.relative_to(root).as_posix()
    return None


def _named(hashes: Iterable[tuple[str, str]]) -> dict[str, str]:
    """By name; of several files with the same name, the later ones are numbered."""
    named: dict[str, str] = {}
    for name, digest in hashes:
        number, key = 1, name
        while key in named:
            number += 1
            key = f"{name} ({number})"
        named[key] = digest
    return named


def _brief(value: object) -> str:
    text = "unset" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"
