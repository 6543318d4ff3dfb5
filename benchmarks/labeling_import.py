"""What it takes to bring 100,000 pairs in, and to bring them out again in every kind.

The pairs are made up, of distinct texts and with TRL's columns. They are imported as the command does it: surveyed,
checked, stored, with a task and a judgement each; plain, and gzipped. Beside it, in the same run, what merely reading
such a file takes: `datasets` into its cache, and `json` and `executemany` into five SQLite tables by hashed ids, in one
transaction, without a check of any row.

Each step is a process of its own. Its processor time is given beside the seconds that passed, for other work on the
machine makes only the latter longer; memory is the most that the process held, the interpreter and libraries included.

    python benchmarks/labeling_import.py --pairs 100000 --json labeling_import.json
"""

import argparse
import gzip
import hashlib
import json
import os
import random
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from foundation.files import write_json

_WORDS = [
    f"{start}{end}" for start in ("ra", "ti", "mo", "ke", "sun", "plo") for end in ("n", "ster", "ve", "d", "ling")
]


def main() -> None:
    """Measure each step and print a row of the table for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        name, _, kind = options.step.partition(" ")
        _STEPS[name](options.folder, kind)
        return
    found: dict[str, Any] = {}
    with TemporaryDirectory() as name:
        folder = Path(name)
        _write_pairs(folder, options.pairs)
        print("| step | seconds | of the processor | peak memory, MiB |\n|---|---|---|---|", flush=True)
        for step in _steps():
            found[step] = _measured(folder, step)
            figures = found[step]
            print(
                f"| {step} | {figures['seconds']:.1f} | {figures['cpu_seconds']:.1f} | {figures['peak_mib']:.0f} |",
                flush=True,
            )
            if options.json:
                write_json(options.json, found)


def _steps() -> list[str]:
    from labeling_ui.exchange.exports.registry import KINDS

    readers = ["nothing", "datasets", "sqlite", "import", "import .gz"]
    return [*readers, *(f"export {kind}" for kind in KINDS), "restore answers"]


def _measured(folder: Path, step: str) -> dict[str, float]:
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache")}
    said = subprocess.run(command, check=True, env=environment, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.perf_counter() - began, "cpu_seconds": used, "peak_mib": float(said.split()[-1]) / 1024}


def _write_pairs(folder: Path, number: int) -> None:
    draw = random.Random(0)

    def text(words: int) -> str:
        return " ".join(draw.choices(_WORDS, k=words))

    with (folder / "pairs.jsonl").open("w") as plain, gzip.open(folder / "pairs.jsonl.gz", "wt") as zipped:
        for pair in range(number):
            row = {"prompt": f"{pair}: {text(20)}?", "chosen": text(60), "rejected": text(60), "margin": 1.0}
            line = json.dumps(row) + "\n"
            plain.write(line)
            zipped.write(line)


def _nothing(folder: Path, kind: str) -> None:
    import labeling_ui.exchange.imports  # noqa: F401  what every step of ours imports


def _datasets(folder: Path, kind: str) -> None:
    from datasets import load_dataset

    rows = load_dataset("json", data_files=str(folder / "pairs.jsonl"), split="train")
    assert sum(len(row["chosen"]) > 0 for row in rows) == len(rows)


def _sqlite(folder: Path, kind: str) -> None:
    connection = sqlite3.connect(folder / "plain.db")
    tables = ("prompts", "chosen", "rejected", "tasks", "events")
    for table in tables:
        connection.execute(f"CREATE TABLE {table} (id TEXT PRIMARY KEY, said TEXT)")
    with (folder / "pairs.jsonl").open() as file, connection:
        for lines in _chunks(file):
            pairs = [json.loads(line) for line in lines]
            for table, name in zip(tables, ("prompt", "chosen", "rejected", "prompt", "chosen"), strict=True):
                values = [
                    (hashlib.sha256(f"{table} {pair['prompt']} {pair[name]}".encode()).hexdigest(), pair[name])
                    for pair in pairs
                ]
                connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", values)
    connection.close()


def _chunks(lines: Iterator[str], size: int = 1000) -> Iterator[list[str]]:
    held: list[str] = []
    for line in lines:
        held.append(line)
        if len(held) == size:
            yield held
            held = []
    yield held


def _import(folder: Path, ending: str) -> None:
    from labeling_ui.exchange.imports import import_file
    from labeling_ui.store.store import Store

    with closing(Store(folder / f"labels{ending}.db")) as store:
        done = import_file(store, "trl", folder / f"pairs.jsonl{ending}")
    assert done.taken > 0
    assert not done.refused


def _export(folder: Path, kind: str) -> None:
    from labeling_ui.exchange.exports.files import write
    from labeling_ui.exchange.exports.registry import rows
    from labeling_ui.store.store import Store

    with closing(Store(folder / "labels.db")) as store:
        write(folder / f"{kind}.jsonl", rows(store, kind))


def _restore(folder: Path, kind: str) -> None:
    from labeling_ui.exchange.answer_file import take_answer_file
    from labeling_ui.store.store import Store

    with closing(Store(folder / "restored.db")) as store:
        taken, _, refused = take_answer_file(store, folder / f"{kind}.jsonl")
    assert taken > 0
    assert not refused


_STEPS: dict[str, Callable[[Path, str], None]] = {
    "nothing": _nothing, "datasets": _datasets, "sqlite": _sqlite, "import": _import, "export": _export,
    "restore": _restore,
}  # fmt: skip


if __name__ == "__main__":
    main()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if "--step" in sys.argv else "")
