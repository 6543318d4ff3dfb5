"""A run is a folder of rounds; a round is a folder of what its stages made.

    runs/NAME/labels.db, config.yaml
    runs/NAME/round-000/candidates.jsonl, reward/, policy/, ..., manifest.json
    runs/NAME/round-000/superseded/reward-1

Where things lie, and nothing else: how a stage makes its output is in `make_output.py`.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from foundation.errors import UserError
from pipeline.runs.lock import RunLock
from pipeline.runs.make_output import Produce, make
from pipeline.runs.manifest import Manifest, StageRecord


def _nothing() -> None:
    """The barrier of a single process."""


class Run:
    """One run at one of its rounds (the latest, unless `round` says otherwise).

    `seed` enters every stage's fingerprint. `say` is told, in one line each, what is skipped, continued or made
    again. Under several processes `is_main` is true in one of them, which alone writes, and `barrier` waits
    for all.
    """

    def __init__(
        self,
        path: Path,
        *,
        round: int | None = None,
        seed: int = 0,
        say: Callable[[str], None] = print,
        is_main: bool = True,
        barrier: Callable[[], None] = _nothing,
        lock: RunLock | None = None,
    ) -> None:
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file; a run is a folder. Choose another --run.")
        self.path = path
        self.seed = seed
        self.say = say
        self.is_main = is_main
        self.barrier = barrier
        self.lock = lock or RunLock(path / ".lock")
        self.round = self.latest_round() if round is None else round

    @property
    def name(self) -> str:
        """The run's name: that of its folder."""
        return self.path.resolve().name

    @property
    def argument(self) -> str:
        """The run's folder as it is typed in a command."""
        return shlex.quote(str(self.path))

    @property
    def database(self) -> Path:
        """Where the run's judgements are kept."""
        return self.path / "labels.db"

    @property
    def config_file(self) -> Path:
        """The configuration that was last used."""
        return self.path / "config.yaml"

    @property
    def folder(self) -> Path:
        """The folder of this round."""
        return self.path / f"round-{self.round:03d}"

    @property
    def manifest_path(self) -> Path:
        """The manifest of this round."""
        return self.folder / "manifest.json"

    def rounds(self) -> list[int]:
        """The numbers of the rounds that exist, in order."""
        return sorted(int(p.name.removeprefix("round-")) for p in self.path.glob("round-[0-9][0-9][0-9]") if p.is_dir())

    def latest_round(self) -> int:
        """The highest round that exists, 0 in a new run."""
        return max(self.rounds(), default=0)

    def at(self, round: int) -> "Run":
        """The same run at another round."""
        return Run(
            self.path,
            round=round,
            seed=self.seed,
            say=self.say,
            is_main=self.is_main,
            barrier=self.barrier,
            lock=self.lock,
        )

    def new_round(self) -> "Run":
        """The run at the round after the latest; its folder appears with its first stage."""
        return self.at(self.latest_round() + 1 if self.rounds() else 0)

    def manifest(self) -> Manifest:
        """What this round remembers."""
        return Manifest.read(self.manifest_path)

    def record(self, name: str) -> StageRecord | None:
        """The record of a finished stage of this round, or None."""
        return self.manifest().stages.get(name)

    def artifact(self, name: str) -> Path:
        """What an earlier stage of this round wrote; `UserError` says which stage to run first if it has not."""
        path = self.folder / name
        if not path.exists():
            raise UserError(f"{path} is missing: run `rlhf {name} --run {self.argument}` first.")
        return path

    def stage(
        self,
        name: str,
        output: str,
        inputs: Sequence[Path],
        config: BaseModel | Mapping[str, Any],
        produce: Produce,
        extra: Mapping[str, Any] | None = None,
        content: Callable[[], Mapping[str, str]] = dict,
    ) -> StageRecord:
        """Make one output of this round, or find it up to date: see `make_output.make`."""
        return make(self, name, output, inputs, config, produce, extra or {}, content)
