"""Annotators who read, think, answer over HTTP, and send an answer again until it is acknowledged."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx

ANSWERS = (
    {"verdict": "preferred", "winner": 0, "strength": 1},
    {"verdict": "preferred", "winner": 1, "strength": 3},
    {"verdict": "tie"},
    {"verdict": "both_bad"},
    {"verdict": "skip", "reason": "not sure"},
)
_AGAIN = 0.2  # seconds between two tries


@dataclass
class Log:
    """What the crowd saw: seconds from submit to the next task, and what the server acknowledged."""

    latencies: list[float] = field(default_factory=list)
    acknowledged: list[tuple[str, str]] = field(default_factory=list)  # annotator, task
    statuses: Counter[str] = field(default_factory=Counter)
    retries: int = 0


@dataclass
class Annotator:
    """One person at a browser: a session, the card on the screen and the one behind it."""

    client: httpx.AsyncClient
    invitation: str
    think: Callable[[random.Random], float]
    log: Log
    random: random.Random
    invite_again: Callable[[], str] | None = None
    id: str = ""

    async def work(self, until: Callable[[], bool]) -> None:
        """Answer card after card, until there are none for this annotator or `until()` says so."""
        await self._enter()
        desk = (await self._ask("GET", "/api/desk")).json()
        self.id, cards = desk["annotator_id"], desk["cards"]
        await asyncio.sleep(self.random.random() * self.think(self.random))
        while not until():
            if not cards:
                await asyncio.sleep(1)
                desk = (await self._ask("GET", "/api/desk")).json()
                cards, over = desk["cards"], desk["progress"]["done"] == desk["progress"]["total"]
                if not cards and over:
                    return
                continue
            cards = await self._answer(cards[0])
            await asyncio.sleep(self.think(self.random))

    async def _enter(self) -> None:
        """Open the link; if it was used in a request whose answer was lost, ask for another, as a person would."""
        before = self.log.retries
        while True:
            opened = await self._ask("POST", f"/invitation/{self.invitation}", 422, data={"name": "", "password": ""})
            if opened.status_code != 422:
                return
            if self.invite_again is None or self.log.retries == before:
                shown = " ".join(opened.text.partition("<main")[2].split())
                raise SystemExit(f"the link of an annotator does not let them in: {shown[:300]}")
            self.invitation = await asyncio.to_thread(self.invite_again)

    async def _answer(self, card: dict[str, Any]) -> list[dict[str, Any]]:
        sent = {"ticket": card["ticket"], "answer": self.random.choice(ANSWERS), "seconds": 2.5}
        began = time.perf_counter()
        answer = (await self._ask("POST", "/api/judgements", json=sent)).json()
        self.log.latencies.append(time.perf_counter() - began)
        self.log.acknowledged.append((self.id, card["id"]))
        self.log.statuses[answer["saved"]] += 1
        if answer["cards"] is None:
            answer = (await self._ask("GET", "/api/desk")).json()
        return answer["cards"]

    async def _ask(self, method: str, path: str, expected: int = 0, **content: Any) -> httpx.Response:
        """The answer to a request, which is sent again where the server is gone or could not save.

        A refusal ends the benchmark, but one with the status `expected`.
        """
        while True:
            try:
                response = await self.client.request(method, path, **content)
            except httpx.TransportError:
                self.log.retries += 1
                await asyncio.sleep(_AGAIN)
                continue
            if response.status_code == 503:
                self.log.retries += 1
                await asyncio.sleep(_AGAIN)
                continue
            if response.status_code >= 400 and response.status_code != expected:
                raise SystemExit(f"{method} {path} was answered with {response.status_code}: {response.text[:300]}")
            return response


async def crowd(
    address: str, invitations: list[str], think: Callable[[random.Random], float], until: Callable[[], bool], seed: int,
    invite_again: Callable[[int], str] | None = None,
) -> Log:  # fmt: skip
    """Let all annotators work at once; returns what they saw. `invite_again` makes another link for one of them."""
    log = Log()
    origin = {"origin": address}
    clients = [httpx.AsyncClient(base_url=address, headers=origin, timeout=30) for _ in invitations]
    try:
        people = [
            Annotator(
                client,
                invitation,
                think,
                log,
                random.Random(f"{seed}/{number}"),
                invite_again and partial(invite_again, number),
            )
            for number, (client, invitation) in enumerate(zip(clients, invitations, strict=True))
        ]
        await asyncio.gather(*(person.work(until) for person in people))
    finally:
        for client in clients:
            await client.aclose()
    return log
