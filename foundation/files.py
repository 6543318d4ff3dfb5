"""Reading and writing whole files.

What is written here is either complete under its final name or not there at all, also after a
power cut: contents are synced before the rename, the folder after it. JSON Lines are read with
errors that name the line and the field. Which files exist, and when, only `pipeline` knows.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from foundation.errors import UserError

Row = dict[str, Any]

_LINE_ENDS = {"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_PACKED = {
    b"\x1f\x8b": "a gzip archive", b"PK\x03\x04": "a zip archive", b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"BZh": "a bzip2 archive", b"\xfd7zXZ": "an xz archive", b"PAR1": "a Parquet file", b"ARROW1": "an Arrow file",
}  # fmt: skip
_TYPE_NAMES = {str: "a string", list: "a list", dict: "an object", bool: "true or false"}


def write_text(path: Path, text: str | Iterable[str]) -> None:
    """Write `text`, or its parts one after the other, to `path`, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as file:
            file.writelines([text] if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}. Nothing was changed; "
            "free some space or choose another folder, then run the command again."
        ) from error
    finally:
        partial.unlink(missing_ok=True)  # what a failure left


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False) + "\n")


def json_line(value: object) -> str:
    """`value` as one line of JSON for every reader of lines.

    JSON lets U+0085, U+2028 and U+2029 stand as they are, and many readers (`str.splitlines`, httpx's `iter_lines`) end
    a line there: they are escaped.
    """
    line = json.dumps(value, ensure_ascii=False)
    if not line.isascii():
        for character, escaped in _LINE_ENDS.items():
            line = line.replace(character, escaped)
    return line + "\n"


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write one JSON object a line, whole or not at all; returns how many."""
    number = 0

    def lines() -> Iterator[str]:
        nonlocal number
        for row in rows:
            number += 1
            yield json_line(row)

    write_text(path, lines())
    return number


def read_json(path: Path) -> Any:
    """Read a JSON file; `UserError` if it is missing or malformed."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist.") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not UTF-8 text ({error.reason}, byte {error.start}). Save the file as UTF-8."
        ) from error
    except (ValueError, RecursionError) as error:  # the latter: nested too deeply
        raise UserError(f"{path} is not valid JSON: {error}") from error


def read_jsonl(path: Path, required: Mapping[str, type] | None = None) -> Iterator[tuple[int, Row]]:
    """Yield `(line number, object)` for each non-blank line.

    `required` maps field names to the Python type that their JSON value must have. Anything
    malformed raises `UserError` with the file, the line and the field.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}.") from error
    with file:
        for number, line in enumerate(file, start=1):
            if number == 1 and (packed := _packed(line)):
                raise UserError(
                    f"{path} is {packed}, and JSON Lines are read here. Unpack it, or write its rows with "
                    '`datasets.load_dataset(...).to_json("rows.jsonl")`.'
                )
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            try:
                row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except UnicodeDecodeError as error:
                raise UserError(f"{where}: not UTF-8 text ({error.reason}). Save the file as UTF-8.") from error
            except json.JSONDecodeError as error:
                raise UserError(
                    f"{where}: not valid JSON ({error.msg}, column {error.colno}). Each line must be one JSON object."
                ) from error
            except (ValueError, RecursionError) as error:  # a number of thousands of digits; nested too deeply
                raise UserError(f"{where}: not valid JSON ({error}).") from error
            if not isinstance(row, dict):
                raise UserError(f"{where}: expected a JSON object, found {type(row).__name__}.")
            for field, kind in (required or {}).items():
                if field not in row:
                    raise UserError(f'{where}: the field "{field}" is missing.')
                if not isinstance(row[field], kind):
                    raise UserError(
                        f'{where}: the field "{field}" must be {_TYPE_NAMES.get(kind, kind.__name__)}, '
                        f"found {type(row[field]).__name__}."
                    )
            yield number, row


def _packed(line: bytes) -> str | None:
    """What kind of file begins like this, if it is one that holds rows in another form."""
    return next((what for begins, what in _PACKED.items() if line.startswith(begins)), None)


def read_rows(path: Path) -> list[Row]:
    """All rows of a JSON Lines file."""
    return [row for _, row in read_jsonl(path)]


def content_id(*parts: object) -> str:
    """A short id made from the content itself, so that the same record always gets the same id."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sha256_of(path: Path) -> str:
    """Hash of a file, or of a folder's relative names and contents."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        if file is not path:
            digest.update(f"{file.relative_to(path).as_posix()}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def sync_folder(path: Path) -> None:
    """Make a rename inside `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish_folder(partial: Path, final: Path) -> None:
    """Give a finished folder its final name in one step, after syncing what is in it.

    Its files get the permissions of any file that this process makes: libraries write some through temporary files,
    which nobody else can read.
    """
    mode = _mode_of_new_files(partial)
    for file in partial.rglob("*"):
        if file.is_file():
            file.chmod(mode)
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
    partial.rename(final)
    sync_folder(final.parent)


def _mode_of_new_files(folder: Path) -> int:
    """What the umask leaves: tried on a file, because a process cannot ask for its umask without changing it."""
    probe = folder / f".{os.getpid()}.mode"
    probe.touch()
    try:
        return stat.S_IMODE(probe.stat().st_mode)
    finally:
        probe.unlink()
