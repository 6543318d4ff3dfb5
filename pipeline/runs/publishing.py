"""One output on its way: made in a partial folder, described in a journal, given its final name in one step.

The order of writing, each step whole or not done at all, so that the next attempt can complete what a crash
interrupted between any two of them: journal (basis), partial folder, journal (record), old output set aside, new
output named, manifest, journal removed. The steps of a stage, and which process takes them, are in `make_output.py`.
"""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from foundation import threads
from foundation.errors import UserError
from foundation.files import publish_folder, read_json, sha256_of, sync_folder, write_json
from foundation.sizes import Sizes
from pipeline.runs.fingerprint import Basis
from pipeline.runs.manifest import Manifest, StageRecord


class Journal(BaseModel):
    """What an attempt is making (`basis`, since `began`, with so many `threads`, and with these `sizes` once known).

    Once it has made it: the `record` to be published, and `aside`, where the old output goes, relative to the round's
    folder.
    """

    model_config = ConfigDict(frozen=True)

    basis: Basis
    began: float
    threads: int | None = None
    sizes: Sizes | None = None
    record: StageRecord | None = None
    aside: str | None = None


class Output:
    """The output of the stage `name` in a round's `folder`; a name with a suffix is a file, any other a folder."""

    def __init__(self, folder: Path, name: str, output: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.name = name
        self.path = folder / output
        self.partial = self.path.with_name(f".{output.name}.partial")
        self.made = self.partial / output.name if output.suffix else self.partial
        self._journal_path = self.path.with_name(f".{output.name}.journal.json")
        self._manifest_path = folder / "manifest.json"
        self._say = say

    def up_to_date(self, basis: Basis) -> StageRecord | None:
        """The record of an output that is whole and still what would be made; None if it must be made."""
        record = self._record()
        if record is None or not self.path.exists() or not record.basis.same_as(basis):
            return None
        if sha256_of(self.path) != record.output_sha256:
            raise damaged(self.path, self.name)
        return record

    def begin(self, basis: Basis) -> float:
        """Prepare the partial folder, fresh unless an attempt at the same thing was interrupted.

        Returns the seconds that the interrupted attempt is known to have taken.
        """
        journal = self._journal()
        before, count, sizes = 0.0, threads.number(), None
        if journal is not None and journal.basis.same_as(basis) and self.partial.is_dir():
            before = max(0.0, _latest_change(self.partial) - journal.began)
            self._say(f"{self.name}: going on where it was interrupted.")
            count, sizes = self._kept(journal.threads or count, count), journal.sizes
        else:
            if self.partial.exists():
                shutil.rmtree(self.partial)
            self._say_why(basis)
        self._write(Journal(basis=basis, began=time.time() - before, threads=count, sizes=sizes))
        self.partial.mkdir(parents=True, exist_ok=True)
        return before

    @property
    def threads(self) -> int:
        """With how many threads the attempt that has begun computes."""
        journal = self._journal()
        return (journal and journal.threads) or threads.number()

    @property
    def sizes(self) -> Sizes | None:
        """How much the attempt that has begun computes at once, as far as it has loaded a model."""
        journal = self._journal()
        return journal.sizes if journal else None

    def keep_sizes(self, settled: Sizes, here: Sizes) -> None:
        """Keep what was settled for whoever resumes; `here` is what would be settled anew."""
        if settled != here:
            self._say(f"{self.name}: as it began, {settled}, not {here}: results depend on it. sizes.* changes it.")
        journal = self._journal()
        if journal is not None and journal.sizes != settled:
            self._write(journal.model_copy(update={"sizes": settled}))

    def publish(self, record: StageRecord) -> None:
        """Publish what was made. From here on, `recover` completes what a crash interrupts."""
        aside = self._free_place() if self.path.exists() else None
        journal = Journal(basis=record.basis, began=time.time(), record=record, aside=aside)
        self._write(journal)
        self._name(journal, record)

    def recover(self) -> None:
        """Complete what a crash interrupted between the last byte made and the manifest."""
        journal = self._journal()
        if journal is None or journal.record is None:
            return
        if any(p.exists() and sha256_of(p) == journal.record.output_sha256 for p in (self.path, self.made)):
            self._name(journal, journal.record)
        else:
            self._journal_path.unlink()

    def _name(self, journal: Journal, record: StageRecord) -> None:
        manifest = Manifest.read(self._manifest_path)
        old = manifest.stages.get(self.name)
        if self.made.exists():
            if journal.aside and self.path.exists():
                aside = self.folder / journal.aside
                aside.parent.mkdir(exist_ok=True)
                self.path.rename(aside)
                sync_folder(aside.parent)
            if self.made == self.partial:
                publish_folder(self.made, self.path)
            else:
                with self.made.open("rb") as stream:
                    os.fsync(stream.fileno())
                self.made.rename(self.path)
                sync_folder(self.folder)
        if old is not None and old != record and journal.aside:
            manifest.superseded.append(old.model_copy(update={"output": journal.aside}))
        manifest.stages[self.name] = record
        manifest.write(self._manifest_path)
        if self.partial.exists():
            shutil.rmtree(self.partial)
        self._journal_path.unlink(missing_ok=True)

    def _kept(self, began_with: int, now: int) -> int:
        """The number of threads of the interrupted attempt: with another one, its results would be others."""
        if began_with != now:
            slow = f" That is more than the {threads.cores()} cores here." if began_with > threads.cores() else ""
            self._say(f"{self.name}: with {began_with} threads as it began, not {now}: results depend on it.{slow}")
        return began_with

    def _free_place(self) -> str:
        stems = [p.name.partition(".")[0] for p in self.folder.glob(f"superseded/{self.name}-[0-9]*")]
        number = max((int(stem.rpartition("-")[2]) for stem in stems), default=0) + 1
        return f"superseded/{self.name}-{number}{self.path.suffix}"

    def _say_why(self, basis: Basis) -> None:
        old = self._record()
        if not self.path.exists():
            if old is not None:
                self._say(f"{self.name}: {self.path.name} is gone and is made again.")
        elif old is None:
            self._say(f"{self.name}: {self.path.name} was not made by this run and will be set aside.")
        else:
            why = basis.changes_since(old.basis)
            more = f" (and {len(why) - 2} more)" if len(why) > 2 else ""
            self._say(f"{self.name}: made anew because {'; '.join(why[:2])}{more}. The old one is kept in superseded/.")

    def _record(self) -> StageRecord | None:
        return Manifest.read(self._manifest_path).stages.get(self.name)

    def _journal(self) -> Journal | None:
        if not self._journal_path.exists():
            return None
        try:
            return Journal.model_validate(read_json(self._journal_path))
        except (UserError, ValidationError):
            return None  # of another version: the attempt starts afresh

    def _write(self, journal: Journal) -> None:
        write_json(self._journal_path, journal.model_dump(mode="json"))


def damaged(path: Path, stage: str) -> UserError:
    """What to say of an output that is no longer what its stage made."""
    return UserError(
        f"{path} is not what the stage {stage} made: it was changed or cut short afterwards. "
        "Put it back from a copy, or delete it and run the command again to make it anew."
    )


def _latest_change(folder: Path) -> float:
    return max(p.stat().st_mtime for p in (folder, *folder.rglob("*")))
