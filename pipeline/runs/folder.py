"""A run is a folder of rounds; a round is a folder of what its stages made.

    runs/NAME/labels.db, config.yaml
    runs/NAME/round-000/candidates.jsonl, reward/, policy/, ..., manifest.json
    runs/NAME/round-000/superseded/reward-1

`Run.stage` makes one output. It works in `.OUTPUT.partial/`, which outlives a crash so that the stage can go
on where it was, and gives the result its final name in one step. A finished output is skipped, one whose
inputs or settings changed is set aside and made anew, one that was changed by hand is refused. Nothing is
ever edited. How that stays true through a crash is `work.py`'s; what the stages do, neither knows.
"""

import errno
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from foundation.errors import UserError
from foundation.files import sha256_of
from pipeline.runs.lock import RunLock
from pipeline.runs.manifest import Basis, Manifest, StageRecord, versions
from pipeline.runs.stage import Work, damaged

# What torch.save says of a failed write; it does not say why.
_TORCH_WRITE_ERRORS = ("iostream error", "inline_container", "failed writing file")

Produce = Callable[[Path], Mapping[str, Any]]


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
    def database(self) -> Path:
        """Where the run's judgements are kept."""
        return self.path / "labels.db"

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

    def stage(
        self,
        name: str,
        output: Path | str,
        inputs: Sequence[Path],
        config: BaseModel | Mapping[str, Any],
        produce: Produce,
        extra: Mapping[str, Any] | None = None,
    ) -> StageRecord:
        """Make `output` (relative to the round's folder) from `inputs`, unless it is there already.

        `produce(partial)` is handed a folder, which holds what an interrupted attempt with the same fingerprint
        left there, and returns the stage's figures. Where `output` has a suffix it is a file, and `produce` writes
        `partial / output.name`; otherwise the folder itself becomes the output. `extra` holds what else the
        output depends on (the hash of a label set). Every process calls `produce`; only the main one writes here.

        Raises `UserError` where an input is missing, an output was changed after it was made, another command is
        at work on this run, or the disk is full.
        """
        work = Work(self.folder, name, Path(output), self.say)
        if not self.is_main:
            return self._follow(work, inputs, config, produce, extra or {})
        with self.lock(), disk_errors(f"making {work.output}", self.path):
            work.mend()
            self.barrier()
            basis = self._basis(name, inputs, config, extra or {})
            done = work.finished(basis)
            self.barrier()
            if done is not None:
                self.say(f"{name}: already done ({done.seconds:.0f} s on {done.finished[:10]}), skipped.")
                return done.model_copy(update={"skipped": True})
            started, before = datetime.now(UTC), work.begin(basis)
            self.barrier()
            clock = time.monotonic()
            figures = dict(produce(work.partial))
            self.barrier()
            if not work.made.exists():
                raise RuntimeError(f"the stage {name} wrote nothing to {work.made}")
            record = StageRecord(
                basis=basis,
                output=work.output.relative_to(self.folder).as_posix(),
                output_sha256=sha256_of(work.made),
                versions=versions(),
                started=started.isoformat(timespec="seconds"),
                finished=datetime.now(UTC).isoformat(timespec="seconds"),
                seconds=round(before + time.monotonic() - clock, 3),
                figures=figures,
            )
            work.finish(record)
            self.barrier()
            return record

    def _follow(
        self,
        work: Work,
        inputs: Sequence[Path],
        config: BaseModel | Mapping[str, Any],
        produce: Produce,
        extra: Mapping[str, Any],
    ) -> StageRecord:
        """`stage` in a process that writes nothing: the same barriers, the same decision."""
        self.barrier()
        done = work.finished(self._basis(work.name, inputs, config, extra))
        self.barrier()
        if done is not None:
            return done.model_copy(update={"skipped": True})
        self.barrier()
        produce(work.partial)
        self.barrier()
        self.barrier()
        return self.manifest().stages[work.name]

    def _basis(
        self, name: str, inputs: Sequence[Path], config: BaseModel | Mapping[str, Any], extra: Mapping[str, Any]
    ) -> Basis:
        hashes: dict[str, str] = {}
        for path in inputs:
            if not path.exists():
                raise UserError(f"{name} needs {path}, which does not exist. Run the stage that makes it first.")
            digest = sha256_of(path)
            maker = self._maker_of(path)
            if maker is not None and maker.output_sha256 != digest:
                raise damaged(path, maker.name)
            key = path.relative_to(self.path) if path.is_relative_to(self.path) else path
            hashes[key.as_posix()] = digest
        settings = config.model_dump(mode="json") if isinstance(config, BaseModel) else config
        # Through JSON, so that what is compared later with the manifest has the manifest's types.
        return Basis(
            stage=name,
            inputs=hashes,
            extra=json.loads(json.dumps(dict(extra))),
            config=json.loads(json.dumps(dict(settings))),
            seed=self.seed,
        )

    def _maker_of(self, path: Path) -> StageRecord | None:
        """The record of the stage, in whichever round of this run, that made `path`."""
        if not path.is_relative_to(self.path):
            return None
        round_name, _, output = path.relative_to(self.path).as_posix().partition("/")
        return Manifest.read(self.path / round_name / "manifest.json").maker_of(output) if output else None


@contextmanager
def disk_errors(doing: str, folder: Path) -> Iterator[None]:
    """Turn a full disk, in whichever library it was met, into one clear message."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not _is_disk_full(error, folder):
            raise
        raise UserError(
            f"the disk is full: {doing} stopped. Nothing finished was touched. Free some space "
            f"({_free_bytes(folder) >> 20} MiB are free in {folder}) and run the command again."
        ) from error


def _is_disk_full(error: BaseException | None, folder: Path) -> bool:
    """Whether a full disk is behind `error`."""
    nearly_full = _free_bytes(folder) < 1 << 20
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        text = str(error)
        if "No space left on device" in text or "database or disk is full" in text:  # safetensors, SQLite
            return True
        if nearly_full and any(hint in text for hint in _TORCH_WRITE_ERRORS):
            return True
        error = error.__cause__ or error.__context__
    return False


def _free_bytes(folder: Path) -> int:
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free
