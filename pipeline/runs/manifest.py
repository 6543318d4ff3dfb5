"""What a round remembers of the stages that made it: one `manifest.json`, written whole.

A record says from which inputs (by hash), with which configuration, seed and versions an output was
made, when, how long it took, and its figures.
"""

import platform
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from foundation import __version__
from foundation.errors import UserError
from foundation.files import read_json, write_json
from foundation.sizes import Sizes
from pipeline.runs.fingerprint import Basis

_RECORDED_VERSIONS = ("torch", "transformers", "trl", "peft")


class StageRecord(BaseModel):
    """How one output came to be. `output` is relative to the round's folder; times are UTC, `seconds` wall clock.

    `threads` are those that computed it, `sizes` say how much was computed at once, if a model was loaded: results
    depend on them in the last bits.
    """

    model_config = ConfigDict(frozen=True)

    basis: Basis
    output: str
    output_sha256: str
    versions: dict[str, str]
    started: str
    finished: str
    seconds: float
    figures: dict[str, Any]
    threads: int | None = None
    sizes: Sizes | None = None
    skipped: bool = False

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.basis.stage

    @property
    def fingerprint(self) -> str:
        """The fingerprint of what the output was made from."""
        return self.basis.fingerprint


class Manifest(BaseModel):
    """The records of one round: the current one of each stage, and those that were superseded."""

    stages: dict[str, StageRecord] = {}
    superseded: list[StageRecord] = []

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Read a manifest; an empty one if there is none yet, `UserError` if it is damaged."""
        if not path.exists():
            return cls()
        remedy = (
            f"Put {path} back from a copy, or move it away: the stages of this round are then made again, "
            "and their old outputs are kept in superseded/."
        )
        try:
            return cls.model_validate(read_json(path))
        except (UserError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"the manifest cannot be read: {reason}\n{remedy}") from error

    def write(self, path: Path) -> None:
        """Write the manifest, whole or not at all."""
        write_json(path, self.model_dump(mode="json", exclude={"stages": {"__all__": {"skipped"}}}))

    def maker_of(self, output: str) -> StageRecord | None:
        """The record of the stage that made `output`, if a stage of this round did."""
        return next((record for record in self.stages.values() if record.output == output), None)


def versions() -> dict[str, str]:
    """The versions that a result may depend on."""
    found = {"python": platform.python_version(), "rlhf-pipeline": __version__}
    found |= {name: metadata.version(name) for name in _RECORDED_VERSIONS}
    return found | ({"bitsandbytes": metadata.version("bitsandbytes")} if find_spec("bitsandbytes") else {})
