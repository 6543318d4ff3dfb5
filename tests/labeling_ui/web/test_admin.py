"""The admin page: what it shows, and who may make it do something."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from foundation.errors import UserError
from labeling_ui.campaigns.campaign import Campaign
from labeling_ui.people.accounts import Accounts
from labeling_ui.quality.agreement import Agreement
from labeling_ui.records import Answer, Candidate, Judgement, Message, Prompt, Role, Task
from labeling_ui.store.store import Store
from labeling_ui.web import admin_figures as overview
from labeling_ui.web.admin import ALL, Office, build_admin
from tests.labeling_ui.filling import fill, fill_with

pytestmark = pytest.mark.usefixtures("quick_passwords")
PASSWORD = "correct horse"
MARKUP = "<img src=x onerror=alert(1)>"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "labels.db")
    yield store
    store.close()


@pytest.fixture
def people(store: Store) -> Accounts:
    return Accounts(store.database)


@pytest.fixture
def office(store: Store, people: Accounts) -> Office:
    return Office(store, people)


@pytest.fixture
def ids(people: Accounts) -> dict[str, str]:
    """Ids of one person of each role, and of somebody disabled."""
    roles: dict[str, Role] = {"Ann": "annotator", "Rex": "reviewer", "Root": "admin", "Off": "admin"}
    found = {name: people.add(name, role, PASSWORD).id for name, role in roles.items()}
    people.disable("Off")
    return found


def judge(store: Store, name: str, number: int, side: int = 0, **more: Any) -> None:
    who = store.annotator(name)
    for _ in range(number):
        given = store.next_assignment(who.id)
        assert given is not None
        shown = tuple(candidate.id for candidate in given.shown)
        answer = Answer("preferred", winner=shown[side], strength=2, **more)
        store.record(Judgement(given.task.id, who.id, shown, answer, seconds=4.0))


def test_a_page_of_an_empty_store_can_be_shown(store: Store) -> None:
    page = overview.quality_html(overview.read(store))
    assert "There is no campaign yet" in page
    assert "Nobody has judged anything yet" in page
    assert "None." in overview.flagged_html(overview.read(store))


def test_progress_and_agreement_are_told_by_campaign(store: Store, office: Office, ids: dict[str, str]) -> None:
    fill(store, 12, overlap=2)
    fill_with(store, Campaign(name="ranks", kind="ranking", responses=3, gold_share=0, repeat_share=0), 4, 3)
    judge_until = Campaign(gold_share=0, repeat_share=0, random_share=0)
    store.add_campaign(judge_until)
    found = overview.read(store, "main")
    assert [(one.name, one.tasks, one.done, one.waiting) for one in found.campaigns] == [("main", 12, 0, 24)]
    assert [(one.name, one.waiting) for one in overview.read(store).campaigns] == [("main", 24), ("ranks", 4)]
    assert office.campaigns(ids["Rex"]) == [ALL, "main", "ranks"]
    with pytest.raises(UserError, match="no campaign"):
        office.figures(ids["Rex"], "other")


def test_an_annotator_who_favours_a_side_is_told(store: Store) -> None:
    fill(store, 30, overlap=2)
    judge(store, "Lefty", 30)
    page = overview.quality_html(overview.read(store))
    assert "favours the left" in page
    assert "100% (89 to 100)" in page  # Wilson: 30 / (30 + 1.96²)
    assert "<svg" in page


def test_a_response_that_names_its_model_is_flagged(store: Store) -> None:
    fill(store, 1)
    prompt = Prompt((Message(role="user", content=f"Who are you? {MARKUP}"),))
    told = [Candidate(prompt.id, f"I am ChatGPT. {MARKUP}", {"model": MARKUP}), Candidate(prompt.id, "Nobody.")]
    store.add_prompts([prompt])
    store.add_candidates(told)
    store.add_tasks([Task(prompt.id, tuple(candidate.id for candidate in told))])
    found = overview.read(store)
    assert [flag.says for flag in found.flagged] == ["I am ChatGPT"]
    page = overview.flagged_html(found)
    assert "I am ChatGPT" in page
    assert page.count("&lt;img") == 3
    assert "<img" not in page


def test_what_people_type_is_shown_as_text(store: Store, office: Office, ids: dict[str, str]) -> None:
    fill(store, 12)
    judge(store, f"Eve {MARKUP}"[:60], 12, rationale=f"because {MARKUP}")
    for page in office.figures(ids["Rex"], ALL):
        assert "&lt;img" in page
        assert "<img" not in page


@pytest.mark.parametrize(
    ("alpha", "low", "says"),
    [(0.9, 0.85, "reliable"), (0.85, 0.7, "not yet for sure"), (0.7, 0.5, "tentative"), (0.3, 0.1, "low"),
     (None, None, "nothing to compare")],
)  # fmt: skip
def test_alpha_is_put_in_words(alpha: float | None, low: float | None, says: str) -> None:
    assert says in overview.reading(Agreement(alpha, low, alpha, 10, 20))


def test_the_overview_is_not_made_anew_for_each_look(store: Store) -> None:
    now = [0.0]
    reader = overview.Reader(store, lambda: now[0])
    first = reader()
    assert reader() is first
    now[0] += overview.FRESH_SECONDS + 1
    assert reader() is not first


# Who may do what. Each handler of the page ends in a method of `Office`.

SEEING = {
    "header": lambda office, who: office.header(who),
    "campaigns": lambda office, who: office.campaigns(who),
    "figures": lambda office, who: office.figures(who, ALL),
}
CHANGING = {
    "people": lambda office, who: office.people(who),
    "invite": lambda office, who: office.invite(who, "admin", ""),
    "role": lambda office, who: office.change(who, "Ann", "annotator"),
    "disable": lambda office, who: office.change(who, "Ann", "disable"),
    "forget": lambda office, who: office.forget(who, "Ann", "delete"),
}


@pytest.mark.parametrize("caller", [None, "", "nobody", "Ann", "Off"])
@pytest.mark.parametrize("what", SEEING | CHANGING)
def test_an_annotator_and_a_stranger_may_do_nothing(
    office: Office, ids: dict[str, str], what: str, caller: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    before = office._accounts.list()
    with pytest.raises(PermissionError, match="Refused"):
        (SEEING | CHANGING)[what](office, ids.get(caller or "", caller))
    assert office._accounts.list() == before
    assert [record.name for record in caplog.records] == ["rlhf.security"]


@pytest.mark.parametrize("what", CHANGING)
def test_a_reviewer_sees_figures_and_no_people(office: Office, ids: dict[str, str], what: str) -> None:
    for see in SEEING.values():
        assert see(office, ids["Rex"])
    with pytest.raises(PermissionError):
        CHANGING[what](office, ids["Rex"])


@pytest.mark.parametrize("what", SEEING | CHANGING)
def test_an_admin_may_do_it(office: Office, ids: dict[str, str], what: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rlhf.security")
    assert (SEEING | CHANGING)[what](office, ids["Root"])
    assert not [record for record in caplog.records if "Ann" in record.getMessage()], "the log names nobody"


def test_every_event_of_the_page_asks_who_calls(store: Store, people: Accounts, ids: dict[str, str]) -> None:
    """Gradio's endpoints can be called with anything; what the page hides protects nothing."""

    async def build() -> gr.Blocks:
        return build_admin(store, people)

    blocks = asyncio.run(build())  # where no loop runs, Gradio makes some and leaves them open
    before = people.list()
    given = {"Ann": "admin", "campaign": ALL}
    called = 0
    for event in blocks.fns.values():
        if event.fn is None:
            continue
        called += 1
        values = [given.get(str(block.label), block.value) for block in event.inputs]
        request = SimpleNamespace(username=ids["Ann"], url=SimpleNamespace(scheme="http"), headers={"host": "x"})
        if event.fn.__name__ == "load_people":  # answers a reviewer with nothing
            hidden, page, _ = event.fn(*values, request)
            assert hidden["visible"] is False
            assert page == ""
        else:
            with pytest.raises(gr.Error, match="Refused"):
                event.fn(*values, request)
        assert event.api_visibility == "private"
    assert called >= 9
    assert people.list() == before


def test_an_admin_does_not_lock_themselves_out(office: Office, ids: dict[str, str]) -> None:
    with pytest.raises(UserError, match="your own account"):
        office.change(ids["Root"], "Root", "disable")
    with pytest.raises(UserError, match="no change"):
        office.change(ids["Root"], "Ann", "owner")
