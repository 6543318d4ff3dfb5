"""What the tests of the labeling page share: tasks to judge, forged tickets, and its routes with a stand-in session."""

from fastapi import FastAPI, HTTPException, Request
from fastapi.testclient import TestClient

from labeling_ui.campaign import Campaign, Kind
from labeling_ui.data_model import Annotator, Candidate, Prompt, Task
from labeling_ui.store.store import Store
from labeling_ui.web import access_control
from labeling_ui.web.api import build_router
from labeling_ui.web.live_prompts import Generate

PLAIN = {"gold_share": 0.0, "repeat_share": 0.0}  # nothing mixed in


def add_pairs(store: Store, n: int, overlap: int = 3, suffix: str = "") -> None:
    """Add `n` prompts with a pair of responses each; `suffix` ends one response of every pair."""
    add_tasks(store, n, Campaign(overlap=overlap, **PLAIN), suffix)


def add_tasks(store: Store, n: int, campaign: Campaign, suffix: str = "") -> list[Task]:
    """Add the campaign and `n` tasks of its kind, each about a prompt of its own."""
    store.add_campaign(campaign)
    tasks = []
    for number in range(n):
        prompt = Prompt(({"role": "user", "content": f"Question {number}?"},))
        texts = [f"Good answer {number}.{suffix}", f"Bad answer {number}."]
        texts += [f"Answer {more} to {number}." for more in range(2, campaign.shown)]
        candidates = [Candidate(prompt.id, text, {"model": "secret-model"}) for text in texts[: campaign.shown]]
        store.add_prompts([prompt])
        store.add_candidates(candidates)
        tasks.append(Task(prompt.id, tuple(candidate.id for candidate in candidates), campaign.name))
    store.add_tasks(tasks)
    return tasks


def fill_kind(store: Store, kind: Kind, n: int = 3, suffix: str = "", **settings: object) -> list[Task]:
    """Add `n` tasks of a campaign "main" of this kind."""
    return add_tasks(store, n, Campaign.model_validate({"kind": kind, "overlap": 3, **PLAIN, **settings}), suffix)


def client_of(store: Store, generate: Generate | None = None, secret: str = "secret") -> TestClient:
    """The page's routes; who asks is named by a header: `client.headers["x-who"] = "Ann"`."""

    async def person(request: Request) -> Annotator:
        name = request.headers.get("x-who")
        if not name:
            raise HTTPException(401, "You are signed out.")
        return store.annotator(name)

    app = FastAPI()
    app.dependency_overrides[access_control.person] = person
    app.include_router(build_router(store, secret, generate))
    return TestClient(app, headers={"x-who": "Ann"}, raise_server_exceptions=False)


def forged(ticket: str) -> str:
    """The ticket with another signature; not another last character, which has bits to spare."""
    body, _, signature = ticket.rpartition(".")
    return f"{body}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
