"""Lines of JSON, and folders that are given their names, and who may read what is in them."""

import gzip
import io
import json
import os
import stat
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from foundation.errors import UserError
from foundation.files import json_line, publish_folder, read_rows


@pytest.mark.parametrize("code", [0x0A, 0x0B, 0x0C, 0x0D, 0x1C, 0x1D, 0x1E, 0x85, 0x2028, 0x2029])
def test_a_row_is_one_line_for_every_reader_of_lines(code: int) -> None:
    row = {"response": f"one{chr(code)}两"}
    (line,) = json_line(row).splitlines()
    assert json.loads(line) == row
    assert "两" in line


@given(st.text())
def test_a_line_says_what_it_was_given(text: str) -> None:
    (line,) = json_line([text]).splitlines()
    assert json.loads(line) == [text]


@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_weights_are_as_readable_as_other_files(tmp_path: Path, umask: int, expected: int) -> None:
    before = os.umask(umask)
    try:
        (tmp_path / "partial" / "inner").mkdir(parents=True)
        save_file({"weight": torch.zeros(2)}, tmp_path / "partial" / "inner" / "model.safetensors")
        (tmp_path / "partial" / "config.json").write_text("{}")
        publish_folder(tmp_path / "partial", tmp_path / "whole")
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "whole").rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"model.safetensors", "config.json"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {expected}


def zipped() -> bytes:
    with zipfile.ZipFile(held := io.BytesIO(), "w") as archive:
        archive.writestr("rows.jsonl", "{}\n")
    return held.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [(gzip.compress(b"{}\n"), "a gzip archive"), (zipped(), "a zip archive"), (b"PAR1\x15\x04", "a Parquet file")],
    ids=["gzip", "zip", "Parquet"],
)
def test_packed_rows_are_called_what_they_are(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(content)
    with pytest.raises(UserError, match=f"rows is {said}, and JSON Lines are read here. Unpack it, or "):
        read_rows(tmp_path / "rows")
