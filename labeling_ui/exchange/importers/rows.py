"""The rows of a file, however they are stored: JSON Lines, a JSON array, CSV, Parquet, gzipped or not, or on the hub.

A source can be read as often as needed, and no more than a few rows of it are held at once; only a JSON array is read
whole. What a file is shows in its first bytes, CSV in its name. One that is damaged or breaks off raises `UserError`;
what is well formed is yielded as it is, for others to judge. Nothing here knows what the columns mean.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from foundation.errors import UserError

HUB = "hub:"
_PACKED = {
    b"PK\x03\x04": "a zip archive or a spreadsheet", b"BZh": "a bzip2 file", b"\xfd7zXZ": "an xz file",
    b"(\xb5/\xfd": "a Zstandard file", b"SQLite format 3": "a SQLite database",
}  # fmt: skip
_LARGEST_CELL = 1 << 26
_CONVERSATION = re.compile(r'\s*\[\s*\{\s*"(?:role|content|from|value)"\s*:')
_HUB = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?:/(?P<config>[\w.-]+))?(?::(?P<split>[\w.-]+))?")


@dataclass(frozen=True, slots=True)
class Source:
    """Rows with their numbers: lines of JSON Lines, else counted from 1 (in CSV without the header)."""

    name: str
    read: Callable[[], Iterable[tuple[int, Any]]]


def open_source(file: str | Path) -> Source:
    """The rows of a file, or of a dataset on the hub: `hub:OWNER/NAME`, `hub:OWNER/NAME/CONFIG:SPLIT`."""
    if str(file).startswith(HUB):
        return _on_the_hub(str(file))
    path = Path(file)
    if not path.is_file():
        raise UserError(f"{path} is not a file. Give the path of a file, or {HUB}OWNER/NAME for a dataset on the hub.")
    with _opened(path) as stream:
        start = stream.read(4096)
    for magic, what in _PACKED.items():
        if start.startswith(magic):
            raise UserError(f"{path} is {what}. Unpack it, or save it as JSON Lines, CSV or Parquet.")
    if start.startswith(b"PAR1"):
        return Source(str(path), lambda: _parquet(path))
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix in (".csv", ".tsv"):
        return Source(str(path), lambda: _csv(path))
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[") and not _has_lines(path):
        return Source(str(path), lambda: _json_array(path))
    return Source(str(path), lambda: _json_lines(path))


def _opened(path: Path) -> BinaryIO:
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        return cast(BinaryIO, _Whole(path)) if packed else path.open("rb")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}.") from error


class _Whole(gzip.GzipFile):
    """A gzipped file that says in one sentence if half of it is missing."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._path = path

    def read(self, size: int | None = -1) -> bytes:
        return self._told(lambda: super(_Whole, self).read(size))

    def read1(self, size: int = -1) -> bytes:  # what text is decoded from
        return self._told(lambda: super(_Whole, self).read1(size))

    def readline(self, size: int | None = -1) -> bytes:
        return self._told(lambda: super(_Whole, self).readline(-1 if size is None else size))

    def readinto(self, buffer: Any) -> int:
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)

    def _told(self, read: Callable[[], bytes]) -> bytes:
        try:
            return read()
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(
                f"{self._path} is a gzipped file that is damaged or breaks off ({error}). Nothing was imported; "
                "get the whole file, and import it again."
            ) from error


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, _json(line, f"{path}, line {number}", " Each line must be one JSON object.")


def _has_lines(path: Path) -> bool:
    """Whether what begins like a JSON array are JSON Lines, the first of which is a list."""
    with _opened(path) as file:
        first = file.readline()
        if not any(line.strip() for line in file):
            return False
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return True


def _json_array(path: Path) -> Iterator[tuple[int, Any]]:
    with _opened(path) as file:
        rows = _json(file.read(), str(path))
    yield from enumerate(rows, start=1)


def _json(text: bytes, where: str, advice: str = "") -> Any:
    try:
        return json.loads(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 text ({error.reason}). Save the file as UTF-8.") from error
    except (ValueError, RecursionError) as error:  # the latter: nested too deeply
        raise UserError(f"{where}: not valid JSON ({error}).{advice}") from error


def _csv(path: Path) -> Iterator[tuple[int, Any]]:
    """Cells are text, empty ones None, and those that hold a conversation as JSON are one."""
    csv.field_size_limit(_LARGEST_CELL)
    with _opened(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        try:
            header = text.readline()
            text.seek(0)
            marks = {mark: header.count(mark) for mark in "\t,;"}
            reader = csv.DictReader(text, delimiter=max(marks, key=marks.__getitem__), strict=True)
            for number, row in enumerate(reader, start=1):
                odd = None in row  # more cells than the header has names
                yield (
                    number,
                    "a row with more cells than columns" if odd else {name: _cell(cell) for name, cell in row.items()},
                )
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not UTF-8 text ({error.reason}). Save the file as UTF-8.") from error
        except csv.Error as error:
            raise UserError(f"{path} is not valid CSV ({error}): perhaps a quotation mark is never closed.") from error


def _cell(text: str | None) -> Any:
    if text and _CONVERSATION.match(text):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text or None


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            batches = file.iter_batches(batch_size=500)
            yield from enumerate((row for batch in batches for row in batch.to_pylist()), start=1)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is a Parquet file that is damaged or breaks off ({error}).") from error


def _on_the_hub(name: str) -> Source:
    asked = _HUB.fullmatch(name.removeprefix(HUB))
    if asked is None:
        raise UserError(f'"{name}" names no dataset: expected {HUB}OWNER/NAME or {HUB}OWNER/NAME/CONFIG:SPLIT.')
    import datasets

    split = asked["split"] or "train"
    try:
        found = datasets.load_dataset(asked["name"], asked["config"], split=split)
    except Exception as error:  # the library raises its own and everything beneath it
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"cannot get {name} (split {split}) from the hub: {reason}. Check name, split and connection, or "
            "download the dataset's file and import that."
        ) from error
    return Source(name, lambda: enumerate(found, start=1))
