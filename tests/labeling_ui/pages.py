"""What the tests of the labeling page share: tasks to judge, forged tickets, and its routes with a stand-in session."""

from collections.abc import Sequence

from fastapi import FastAPI, HTTPException, Request
from fastapi.testclient import TestClient

from labeling_ui.campaign import Campaign, Kind
from labeling_ui.data_model import Annotator, Answer, Candidate, Messages, Prompt, Task
from labeling_ui.store.store import Store
from labeling_ui.web import access_control
from labeling_ui.web.api import build_router
from labeling_ui.web.live_prompts import Generate

PLAIN = {"gold_share": 0.0, "repeat_share": 0.0}  # nothing mixed in


def add_pairs(store: Store, n: int, overlap: int = 3, suffix: str = "") -> None:
    """Add `n` prompts with a pair of responses each; `suffix` ends one response of every pair."""
    add_tasks(store, n, Campaign(overlap=overlap, **PLAIN), suffix)


def add_tasks(
    store: Store, n: int, campaign: Campaign, suffix: str = "", asked: str = "Question", before: Messages = (),
    texts: Sequence[str] = (), ends: Sequence[str] = (), gold: str = "",
) -> list[Task]:  # fmt: skip
    """Add the campaign and `n` tasks of its kind, each about a prompt of its own, which follows the turns `before`.

    `texts` are the responses, with a number to be new; `ends` says how each ended; `gold` is why the first of two is
    known to be better.
    """
    store.add_campaign(campaign)
    tasks = []
    for number in range(n):
        prompt = Prompt((*before, {"role": "user", "content": f"{asked} {number}?"}))
        said = [f"Good answer {number}.{suffix}", f"Bad answer {number}."]
        said += [f"Answer {more} to {number}." for more in range(2, campaign.shown)]
        said = [f"{text} {number}.{suffix}" for text in texts] or said[: campaign.shown]
        sources = [{"model": "secret-model", **({"finish_reason": end} if end else {})} for end in ends or [""] * 9]
        candidates = [Candidate(prompt.id, *each) for each in zip(said, sources, strict=False)]
        store.add_prompts([prompt])
        store.add_candidates(candidates)
        known = Answer("preferred", candidates[0].id, rationale=gold) if gold else None
        tasks.append(Task(prompt.id, tuple(candidate.id for candidate in candidates), campaign.name, known))
    store.add_tasks(tasks)
    return tasks


def fill_kind(
    store: Store, kind: Kind, n: int = 3, suffix: str = "", before: Messages = (), texts: Sequence[str] = (),
    ends: Sequence[str] = (), **settings: object,
) -> list[Task]:  # fmt: skip
    """Add `n` tasks of a campaign "main" of this kind."""
    campaign = Campaign.model_validate({"kind": kind, "overlap": 3, **PLAIN, **settings})
    return add_tasks(store, n, campaign, suffix, before=before, texts=texts, ends=ends)


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
