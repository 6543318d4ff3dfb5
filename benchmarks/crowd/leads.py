"""Leads beside the crowd: an admin who reads every view, and reviewers and an admin who decide, remove and restore."""

import asyncio
import json
import random
import re
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from labeling_ui.people.accounts import Accounts
from labeling_ui.store.store import Store

PASSWORD = "a long enough password"
_AGAIN = 0.2
VIEWS = {
    "tasks": "/admin/tasks",
    "tasks, a rare text": "/admin/tasks?text=Question+4711:",
    "tasks, a frequent text": "/admin/tasks?text=gives+one+reason",
    "tasks, a text nowhere": "/admin/tasks?text=zyzzyva",
    "tasks, written remarks": "/admin/tasks?text=says+why",
    "tasks that divide people": "/admin/tasks?divided=1",
    "tasks, ties since today": "/admin/tasks?verdict=tie&since=2026-01-01",
    "tasks of one annotator": "/admin/tasks?annotator={annotator}",
    "tasks, removed": "/admin/tasks?state=removed",
    "a task": "/admin/tasks/{task}",
    "instructions": "/admin/instructions/main",
    "work": "/admin/work",
    "work.csv": "/admin/work.csv",
}


def add_leads(url: str, *names: str) -> None:
    """Make admins of these names."""
    store = Store(url)
    try:
        for name in names:
            Accounts(store.database).add(name, "admin", PASSWORD)
    finally:
        store.close()


@dataclass
class Reading:
    """Seconds of each look at each view; `figures` until the first figures were there, `export` of a whole one."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    figures: list[float] = field(default_factory=list)
    exported_rows: int = 0

    def p95_ms(self) -> dict[str, float]:
        """The 95th percentile of each view in milliseconds."""
        return {
            view: round(1000 * sorted(took)[min(len(took) - 1, int(0.95 * len(took)))])
            for view, took in self.seconds.items()
        }


@dataclass
class Lead:
    """An admin at a browser, signed in by a password; asks again where the server is gone."""

    client: httpx.AsyncClient
    name: str

    async def enter(self) -> None:
        """Sign in."""
        while True:
            try:
                done = await self.client.post("/sign-in", data={"name": self.name, "password": PASSWORD})
            except httpx.TransportError:
                await asyncio.sleep(_AGAIN)
                continue
            if done.status_code == 303:
                return
            if done.status_code not in (429, 503):
                raise SystemExit(f"{self.name} could not sign in: {done.status_code}")
            # A sign-in counts as failed until it has succeeded; those that kills cut off may lock the name.
            await asyncio.sleep(float(done.headers.get("retry-after", _AGAIN)))

    async def read(self, path: str) -> str:
        """A page's text, however long it takes to come."""
        while True:
            try:
                found = await self.client.get(path)
            except httpx.TransportError:
                await asyncio.sleep(_AGAIN)
                continue
            if found.status_code == 503:
                await asyncio.sleep(_AGAIN)
                continue
            if found.status_code >= 400:
                raise SystemExit(f"GET {path} was answered with {found.status_code}: {found.text[:300]}")
            return found.text

    async def press(self, path: str, data: Mapping[str, Any], stands: Callable[[], Any]) -> None:
        """Send a form until what it asks for stands.

        Where the server is gone, nobody knows whether the press counted: as a person would, the lead looks
        (`stands`) before pressing again.
        """
        while True:
            try:
                found = await self.client.post(path, data=data)
            except httpx.TransportError:
                found = None
            if found is not None and found.status_code == 303:
                return
            if found is not None and found.status_code != 503:
                raise SystemExit(f"POST {path} was answered with {found.status_code}: {found.text[:300]}")
            await asyncio.sleep(_AGAIN)
            if await stands():
                return


async def read_all(
    address: str, name: str, until: Callable[[], bool], views: Mapping[str, str], pause: float = 0.2
) -> Reading:
    """Read every view in turn until `until()`, the figures and an export too; returns how long each took."""
    reading = Reading()
    async with httpx.AsyncClient(base_url=address, headers={"origin": address}, timeout=600) as client:
        lead = Lead(client, name)
        await lead.enter()
        figures = asyncio.create_task(_figures(lead, reading, until))
        first = True
        while not until() or first:
            for view, path in views.items():
                began = time.perf_counter()
                text = await lead.read(path)
                reading.seconds[view].append(time.perf_counter() - began)
                if view == "tasks" and (following := re.search(r'class="next" href="([^"]+)"', text)):
                    began = time.perf_counter()
                    await lead.read(following[1].replace("&amp;", "&"))
                    reading.seconds["tasks, the next page"].append(time.perf_counter() - began)
                await asyncio.sleep(pause)
            if first:
                began = time.perf_counter()
                reading.exported_rows = (await lead.read("/export/preferences.jsonl")).count("\n")
                reading.seconds["export of preferences, whole"].append(time.perf_counter() - began)
            first = False
        await figures
    return reading


async def _figures(lead: Lead, reading: Reading, until: Callable[[], bool]) -> None:
    """Look at the admin page's figures every ten seconds, as the page does; wait for the first ones at least."""
    began, there = time.perf_counter(), False
    while not there or not until():
        looked = time.perf_counter()
        shown = await figures_html(lead)
        reading.seconds["figures, a look"].append(time.perf_counter() - looked)
        if not there and "judgements are in" in shown:
            there = True
            reading.figures.append(time.perf_counter() - began)
        await asyncio.sleep(1 if not there else 10)


async def figures_html(lead: Lead) -> str:
    """What the admin page's figures are now, by the request that the page itself sends."""
    page = await lead.read("/admin/")
    config = json.JSONDecoder().raw_decode(page[page.index("window.gradio_config = ") + 23 :])[0]
    asked = next(
        each for each in config["dependencies"] if len(each["inputs"]) == 1 and len(each["outputs"]) == 3
        and any(kind == "change" for _, kind in each["targets"])
    )  # fmt: skip
    session = secrets.token_hex(5)
    body = {"data": ["all campaigns"], "fn_index": asked["id"], "session_hash": session, "event_data": None}
    joined = await lead.client.post("/admin/gradio_api/queue/join", json=body)
    joined.raise_for_status()
    async with lead.client.stream("GET", f"/admin/gradio_api/queue/data?session_hash={session}") as events:
        async for line in events.aiter_lines():
            if line.startswith("data:") and (event := json.loads(line[5:]))["msg"] == "process_completed":
                if not event["success"]:
                    raise SystemExit(f"the figures failed: {event['output']}")
                found: str = json.dumps(event["output"]["data"][0])
                return found
    raise SystemExit("the figures did not come")


@dataclass
class Changed:
    """What the server acknowledged: decided tasks with the form's answer, and the last state of others."""

    decided: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    presses: int = 0


async def lead_all(
    address: str, tasks: Sequence[str], until: Callable[[], bool], seed: int, inside: asyncio.Event
) -> Changed:
    """A lead decides a third of the tasks, and another removes, and partly restores, a third, until `until()`.

    `inside` is set once both have signed in.
    """
    changed, entered = Changed(), 0

    async def decide(lead: Lead, task: str, draw: random.Random) -> None:
        answer = draw.choice(["0-1", "0-3", "1-2", "tie", "both_bad"])

        async def stands() -> bool:
            return f'action="/admin/tasks/{task}/reopen"' in await lead.read(f"/admin/tasks/{task}")

        await lead.press(f"/admin/tasks/{task}/decision", {"answer": answer}, stands)
        changed.decided[task] = answer

    async def remove(lead: Lead, task: str, draw: random.Random) -> None:
        for change, state in (("remove", "removed"), *([("restore", "open")] if draw.random() < 0.5 else [])):

            async def stands(state: str = state) -> bool:
                return f'class="chip {state}"' in await lead.read(f"/admin/tasks/{task}")

            await lead.press("/admin/tasks", {"task": task, "change": change, "reason": "tried"}, stands)
            changed.states[task] = state

    async def work(name: str, own: Sequence[str], act: Callable[..., Any]) -> None:
        nonlocal entered
        draw = random.Random(f"{seed}/{name}")
        async with httpx.AsyncClient(base_url=address, headers={"origin": address}, timeout=30) as client:
            lead = Lead(client, name)
            await lead.enter()
            entered += 1
            if entered == 2:
                inside.set()
            for task in own:
                if until():
                    return
                await act(lead, task, draw)
                changed.presses += 1
                await asyncio.sleep(draw.uniform(0.1, 0.4))

    await asyncio.gather(work("Decider", tasks[0::3], decide), work("Remover", tasks[1::3], remove))
    return changed
