"""Files as they are stored: each kind is read alike, and a damaged one is one sentence."""

import gzip
import hashlib
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from pyarrow import parquet

from foundation.errors import UserError
from labeling_ui.exchange.importers.layout import Wishes
from labeling_ui.exchange.importers.rows import open_source
from labeling_ui.exchange.imports import survey_file
from tests.labeling_ui.exchange.importers.taking import drafted

ROWS = [{"prompt": f"q, {number}?", "chosen": 'say "a"\nthen b', "rejected": "c"} for number in range(3)]
LINES = "\n".join(json.dumps(row) for row in ROWS).encode()
CSV = b"prompt,chosen,rejected\n" + b"".join(f'"q, {n}?","say ""a""\nthen b",c\n'.encode() for n in range(3))


def as_parquet(path: Path) -> None:
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("x.jsonl", lambda path: path.write_bytes(LINES)),
        ("x.json", lambda path: path.write_text(json.dumps(ROWS))),
        ("lines", lambda path: path.write_bytes(b"\xef\xbb\xbf" + LINES)),
        ("x.jsonl.gz", lambda path: path.write_bytes(gzip.compress(LINES))),
        ("x.json.gz", lambda path: path.write_bytes(gzip.compress(json.dumps(ROWS).encode()))),
        ("packed", lambda path: path.write_bytes(gzip.compress(LINES[:99]) + gzip.compress(LINES[99:]))),
        ("x.csv", lambda path: path.write_bytes(CSV)),
        ("x.CSV.gz", lambda path: path.write_bytes(gzip.compress(CSV))),
        ("semicolons.csv", lambda path: path.write_bytes(CSV.replace(b",", b";").replace(b"q;", b"q,"))),
        ("x.tsv", lambda path: path.write_bytes(CSV.replace(b",", b"\t").replace(b"q\t", b"q,"))),
        ("x.parquet", as_parquet),
    ],
)
def test_every_kind_of_file_holds_the_same_rows(tmp_path: Path, name: str, write: Callable[[Path], Any]) -> None:
    write(tmp_path / name)
    source = open_source(tmp_path / name)
    assert [row for _, row in source.read()] == ROWS
    assert [row for _, row in source.read()] == ROWS, "it can be read again"


def test_a_table_may_hold_conversations_and_gaps(tmp_path: Path) -> None:
    talk = json.dumps([{"role": "user", "content": "q"}]).replace('"', '""')
    path = tmp_path / "x.csv"
    path.write_text(f'prompt,chosen,rejected,margin\n"{talk}",a,b,\nq,"[""a list""]",b,0.7\nq,a\nq,a,b,,more\n')
    votes, refused = drafted("trl", path)
    assert [vote for _, vote in votes] == ["a", '["a list"]2']
    assert [line[:2] for line in refused] == ["3:", "4:"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("half.jsonl.gz", gzip.compress(LINES, mtime=0)[:-20], "damaged or breaks off"),
        ("bent.jsonl.gz", gzip.compress(LINES, mtime=0)[:20] + b"\0" * 20, "damaged or breaks off"),
        ("half.jsonl", LINES[:-5], "line 3: not valid JSON"),
        ("half.csv", CSV[:-8], "a quotation mark is never closed"),
        ("latin.csv", CSV.replace(b"c", b"\xe9"), "not UTF-8"),
        ("half.parquet", b"PAR1 and no more", "damaged or breaks off"),
        ("sheet.xlsx", b"PK\x03\x04 and so on", "a zip archive or a spreadsheet. Unpack it, or save it as"),
        ("x.zst", b"(\xb5/\xfd", "a Zstandard file"),
        ("empty.csv", b"prompt,chosen\n", "holds no records"),
        ("empty.jsonl.gz", gzip.compress(b"", mtime=0), "holds no records"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=told):
        survey_file("trl", tmp_path / name, Wishes())


@pytest.mark.parametrize("name", ["long.csv.gz", "long.tsv.gz", "long.jsonl.gz", "long.json.gz"])
def test_a_long_file_that_breaks_off_is_one_sentence(tmp_path: Path, name: str) -> None:
    texts = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(2000)]
    lines = ["prompt,chosen,rejected", *(f"q,{text} a,{text} b" for text in texts)]
    content = "\n".join(lines).replace(",", "\t" if "tsv" in name else ",")
    if "json" in name:
        rows = [{"prompt": "q", "chosen": f"{text} a", "rejected": f"{text} b"} for text in texts]
        content = json.dumps(rows) if name == "long.json.gz" else "\n".join(map(json.dumps, rows))
    packed = gzip.compress(content.encode(), mtime=0)
    (tmp_path / name).write_bytes(packed[: len(packed) // 2])
    with pytest.raises(UserError, match="damaged or breaks off"):
        survey_file("trl", tmp_path / name, Wishes())


def test_a_long_file_is_streamed(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl.gz"
    text = "x" * 500
    with gzip.open(path, "wt") as file:
        for number in range(5000):
            file.write(json.dumps({"prompt": f"q{number}", "chosen": f"{text} a", "rejected": f"{text} b"}) + "\n")
    survey = survey_file("trl", path, Wishes())
    tracemalloc.start()
    taken = sum(1 for _ in survey.drafts())
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken == 5000
    assert most < 1_000_000, "5 MB of rows were read a few at a time"


def test_rows_come_from_the_hub_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str, config: str | None, split: str) -> Any:
        asked.append((name, config, split))
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load)
    for name in ("hub:org/pairs", "hub:org/pairs:test", "hub:org/pairs/main:test"):
        assert [row for _, row in open_source(name).read()] == ROWS
    assert asked == [("org/pairs", None, "train"), ("org/pairs", None, "test"), ("org/pairs", "main", "test")]
    with pytest.raises(UserError, match="names no dataset"):
        open_source("hub:pairs")


def test_a_dataset_that_cannot_be_had_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> Any:
        raise ConnectionError("offline\nand more")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(UserError, match=r"cannot get hub:org/pairs \(split train\) from the hub: offline\. Check"):
        open_source("hub:org/pairs")
