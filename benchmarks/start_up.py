"""Processor time that commands take to start, do next to nothing, and end; each in a process of its own.

    python benchmarks/start_up.py --repeats 5

The least of the repeats is shown: other work on the cores, and compiling at the first start, only add. Another version
is measured with its own copy of this script. Wall time is left out: on a busy machine it says how busy.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from foundation.files import write_text
from foundation.threads import cores

MEASURE = """
import resource, sys
from pipeline.__main__ import main
try:
    sys.argv[0] = "rlhf"
    main()
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print("seconds", used.ru_utime + used.ru_stime, "torch" in sys.modules, file=sys.stderr)
"""


WITH_PAGE = "rlhf label, until its first page is there"
TWICE = {"origin": "pair", "votes": [1, 1], "annotators": [1, 2]}


def commands(folder: Path) -> dict[str, list[str]]:
    """What is started, on a run with a few imported judgements, and on one where two people judged each pair."""
    rows, twice = folder / "pairs.jsonl", folder / "twice.jsonl"
    pairs = [{"prompt": f"Why {n}?", "chosen": f"Because {n}.", "rejected": "No idea."} for n in range(20)]
    write_text(rows, "".join(json.dumps(row) + "\n" for row in pairs))
    write_text(twice, "".join(json.dumps(row | TWICE) + "\n" for row in pairs))
    here, there = (["--run", str(folder / name)] for name in ("run", "judged-twice"))
    return {
        "rlhf import": ["import", str(rows), "--format", "trl", *here],
        "rlhf users list": ["users", "list", *here],
        "rlhf labels verify": ["labels", "verify", *here],
        "rlhf labels export": ["labels", "export", str(folder / "out.jsonl"), *here],
        "rlhf report": ["report", *here],
        "rlhf doctor": ["doctor"],
        "rlhf doctor --fast": ["doctor", "--fast"],
        "an error of configuration": ["reward", "--set", "reward.epoch=2", *here],
        "rlhf label": ["label", "--port", str(free_port()), *here],
        WITH_PAGE: ["label", "--port", str(free_port()), *here],
        "rlhf import, two judges": ["import", str(twice), "--format", "trl", *there],
        "rlhf labels export, two judges": ["labels", "export", str(folder / "both.jsonl"), *there],
        "rlhf report, two judges": ["report", *there],
    }


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def once(arguments: Sequence[str], page: bool = False) -> tuple[float, bool] | None:
    """Seconds of processor time, and whether torch was loaded; None if there is no such command.

    Of `rlhf label`, until it says where it is; with `page`, until a browser there has got its page.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", MEASURE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    if arguments[0] == "label":
        said = next((line for line in iter(process.stdout.readline, "") if "Label at" in line), None)
        if said is None:
            return None
        try:
            if page:
                asked = urllib.request.Request(said.split()[2], headers={"Accept": "text/html"})
                urllib.request.urlopen(asked, timeout=120).close()
            ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            maps = Path(f"/proc/{process.pid}/maps").read_text()
        finally:
            process.terminate()  # what a shell starts beside itself ignores Ctrl-C
            process.communicate()
        return sum(map(int, ticks[11:13])) / os.sysconf("SC_CLK_TCK"), "libtorch" in maps
    errors = process.communicate()[1].splitlines()
    if process.returncode not in (0, 2) or any("No such option" in line for line in errors):
        return None
    _, seconds, torch = errors[-1].split()
    return float(seconds), torch == "True"


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="Where to write the figures.")
    options = parser.parse_args()
    figures: dict[str, object] = {"cores": cores()}
    with tempfile.TemporaryDirectory() as folder:
        print("| command | seconds of processor time | torch |\n|---|---|---|")
        for name, arguments in commands(Path(folder)).items():
            found = [once(arguments, name == WITH_PAGE) for _ in range(options.repeats)]
            times = [one[0] for one in found if one is not None]
            if not times:
                print(f"| `{name}` | not there | |")
                continue
            torch = any(one[1] for one in found if one is not None)
            figures[name] = {"least": min(times), "most": max(times), "torch": torch}
            print(f"| `{name}` | {min(times):.2f} | {'yes' if torch else 'no'} |", flush=True)
    if options.json:
        write_text(options.json, json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
