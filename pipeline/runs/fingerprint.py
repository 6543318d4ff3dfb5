"""What an output depends on: its basis. The fingerprint of the basis decides whether an output is up to date.

What was used counts by its content, wherever it lay and however it was spelled: names of inputs, and settings that say
where something lies, are there to be read. They count only where a content is not known: in records of earlier
versions, and for a model that is not on this machine.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path, PurePath
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from foundation import __version__
from foundation.errors import UserError
from foundation.files import sha256_of
from pipeline.config.sources import flat

_IN_A_ROUND = re.compile(r"round-\d{3}/")
_PLACES = {"prompts": {"source"}, "collect": {"prompts", "held_out"}, "reward": {"initial"}, "policy": {"initial"}}
"""Settings of a stage that only say where its inputs come from."""


class Basis(BaseModel):
    """Everything that an output depends on; two equal bases have the same fingerprint."""

    model_config = ConfigDict(frozen=True)

    stage: str
    inputs: dict[str, str]
    """sha256 of each input, by its name."""
    content: dict[str, str] = {}
    """Hashes of what was used, by the setting or the input that names it; they count in its place."""
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
        """sha256 of what counts, in canonical JSON."""
        return hashlib.sha256(json.dumps(self._counting(set(self.content)), sort_keys=True).encode()).hexdigest()

    def changes_since(self, old: "Basis") -> list[str]:
        """Say in words what differs from `old`, the most telling first."""
        known = self.content.keys() & old.content.keys()
        both, added = self.inputs.keys() & old.inputs.keys(), self.inputs.keys() - old.inputs.keys()
        changes = [f"{name} changed" for name in sorted(known) if self.content[name] != old.content[name]]
        changes += [f"{name} changed" for name in sorted(both - known) if self.inputs[name] != old.inputs[name]]
        changes += [f"{name} is now used" for name in sorted(added)]
        changes += [f"{name} is no longer used" for name in sorted(old.inputs.keys() - self.inputs.keys())]
        now, then = (each.extra | each._settings(known) for each in (self, old))
        now, then = flat(now), flat(then)
        for key in sorted(now.keys() | then.keys()):
            if now.get(key) != then.get(key):
                was, is_ = _brief(then.get(key)), _brief(now.get(key))
                changes.append(f"{key} changed" if was == is_ else f"{key} was {was}, is {is_}")
        if self.seed != old.seed:
            changes.append(f"seed was {old.seed}, is {self.seed}")
        if self.version != old.version:
            changes.append(f"rlhf-pipeline was {old.version}, is {self.version}")
        return changes

    def same_as(self, other: "Basis") -> bool:
        """Whether the same output would be made: equal in all that counts, by content where both know it."""
        known = self.content.keys() & other.content.keys()
        return self._counting(known) == other._counting(known)

    def _counting(self, known: Set[str]) -> dict[str, Any]:
        """What an output depends on, with `known` contents in place of names."""
        return {
            "stage": self.stage,
            "inputs": [digest for name, digest in self.inputs.items() if name not in known],
            "content": {name: self.content[name] for name in known},
            "extra": self.extra,
            "config": self._settings(known),
            "seed": self.seed,
            "version": self.version,
        }

    def _settings(self, known: Set[str]) -> dict[str, Any]:
        """The settings by their dotted names, less those that only name something."""
        names = known | _PLACES.get(self.stage, set())
        return {name: value for name, value in flat(self.config).items() if name not in names}


def basis_of(
    stage: str,
    inputs: Sequence[Path],
    config: BaseModel | Mapping[str, Any],
    extra: Mapping[str, Any],
    content: Mapping[str, str],
    seed: int,
    *,
    run: Path,
) -> Basis:
    """The basis of a stage's output in the run's folder; `UserError` if an input is missing."""
    hashes: list[tuple[str, str]] = []
    for path in inputs:
        inside = in_run(path, run)
        if not path.exists():
            mend = "Run the stage that makes it first." if inside else "Name one that does."
            raise UserError(f"{stage} needs {path}, which does not exist. {mend}")
        hashes.append((inside or path.name, sha256_of(path)))
    settings = config.model_dump(mode="json") if isinstance(config, BaseModel) else config
    # Through JSON, so that it has the types of what is read from a manifest, with which it is compared.
    return Basis(
        stage=stage,
        inputs=_named(hashes),
        content=dict(content),
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
