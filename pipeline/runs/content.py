"""What was used, by content: the model, the files of rewards, the prompts of one split.

A setting says where something lies; what a stage depends on is what is in it. Files are hashed whole, and hashes are
kept in the run's `.hashes.json` for as long as nobody touches the file, so that a large model is read once.
Left out: files that a reward function of the user's opens by itself.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from backbone.loading.model_folder import files_of
from foundation.errors import UserError
from foundation.files import content_id, read_json, read_rows, sha256_of, write_json
from pipeline.config.config import Config
from pipeline.runs.folder import Run

PROMPT_FIELDS = ("id", "prompt", "references", "split")
"""What every stage reads of a prompt; its further fields are for rewards."""
_SETTLED = 2.0
"""Seconds after which a file that changes again surely gets another time."""


def content_of(
    run: Run, config: Config, *, split: str | None = None, rewards: bool = False
) -> Callable[[], Mapping[str, str]]:
    """The hashes of what a stage uses, taken when it begins: the model, and with `rewards` the files that these read.

    With `split`, of prompts.jsonl only the prompts of this split count, their further fields with `rewards` alone.
    """

    def found() -> dict[str, str]:
        hashes = KeptHashes(run.path / ".hashes.json", keep=run.is_main)
        used: dict[str, Sequence[Path]] = {"model": files_of(config.model)}
        if rewards:
            for number, spec in enumerate(config.rewards):
                used |= {f"rewards.{number}.{name}": files for name, files in spec.kind.reads().items()}
        content = {name: hashes.of(files) for name, files in used.items() if files}
        prompts = run.folder / "prompts.jsonl"
        if split and prompts.exists():
            rows = [row for row in read_rows(prompts) if row["split"] == split]
            if not rewards:
                rows = [{name: value for name, value in row.items() if name in PROMPT_FIELDS} for row in rows]
            content[prompts.relative_to(run.path).as_posix()] = content_id(rows)
        return content

    return found


class KeptHashes:
    """sha256 of files, kept by where a file lies, its size, its times and its inode.

    The time of the last change of the inode (ctime) is among them: no program can set it back.
    """

    def __init__(self, path: Path, *, keep: bool = True) -> None:
        self._path, self._keep = path, keep
        self._known: dict[str, list[object]] = {}
        with suppress(UserError, TypeError, ValueError):  # none yet, or of another form: each file is read again
            self._known = dict(read_json(path))

    def of(self, files: Iterable[Path]) -> str:
        """One hash of the files' contents in their order; their names do not count."""
        return hashlib.sha256("".join(self._of_one(file) for file in files).encode()).hexdigest()

    def _of_one(self, file: Path) -> str:
        name, before = str(file.resolve()), _state(file)
        known = self._known.get(name)
        if isinstance(known, list) and known[:-1] == before:
            return str(known[-1])
        found = sha256_of(file)
        settled = time.time() - max(file.stat().st_mtime, file.stat().st_ctime) > _SETTLED
        if self._keep and settled and _state(file) == before:
            self._known[name] = [*before, found]
            write_json(self._path, self._known)
        return found


def _state(file: Path) -> list[object]:
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_dev, stat.st_ino]
