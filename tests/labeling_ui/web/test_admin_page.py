"""The admin page: what it shows, and who may make it do something."""

import asyncio
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Candidate, Judgement, Message, Prompt, Role, Task
from labeling_ui.exchange.exports.registry import KINDS
from labeling_ui.people.accounts import Accounts
from labeling_ui.quality.agreement import Agreement
from labeling_ui.store.store import Store
from labeling_ui.web.admin import figures
from labeling_ui.web.admin.page import ALL, AdminActions, build_admin_page
from tests.labeling_ui.filling import fill, fill_with

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
def actions(store: Store, people: Accounts) -> AdminActions:
    return AdminActions(store, people)


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
    page = figures.quality_html(figures.read_overview(store))
    assert "There is no campaign yet" in page
    assert "Nobody has judged anything yet" in page
    assert "None." in figures.flagged_html(figures.read_overview(store))


def test_progress_and_agreement_are_told_by_campaign(store: Store, actions: AdminActions, ids: dict[str, str]) -> None:
    fill(store, 12, overlap=2)
    fill_with(store, Campaign(name="ranks", kind="ranking", responses=3, gold_share=0, repeat_share=0), 4, 3)
    judge_until = Campaign(gold_share=0, repeat_share=0, random_share=0)
    store.add_campaign(judge_until)
    found = figures.read_overview(store, "main")
    assert [(one.name, one.tasks, one.done, one.waiting) for one in found.campaigns] == [("main", 12, 0, 24)]
    assert [(one.name, one.waiting) for one in figures.read_overview(store).campaigns] == [
        ("main", 24),
        ("ranks", 4),
    ]
    assert actions.campaigns(ids["Rex"]) == [ALL, "main", "ranks"]
    with pytest.raises(UserError, match="no campaign"):
        actions.figures(ids["Rex"], "other")


def test_an_annotator_who_favours_a_side_is_told(store: Store) -> None:
    fill(store, 30, overlap=2)
    judge(store, "Lefty", 30)
    page = figures.quality_html(figures.read_overview(store))
    assert "favours the left" in page
    assert "100% (88 to 100)" in page  # exact: 0.025^(1/30)
    assert "<svg" in page


def test_simulated_answers_are_counted_among_those_that_are_shown_verdicts_included(store: Store) -> None:
    fill(store, 6, overlap=3)
    store.add_campaign(store.campaigns()[0].for_verdict("verdict-1", 2))
    there = store.tasks()[:2]
    store.add_tasks([Task(task.prompt_id, task.candidates, "verdict-1") for task in there])
    bot = store.annotator("bot", simulated=True)
    for task in store.tasks():
        store.record(Judgement(task.id, bot.id, task.candidates, Answer("tie")))
    store.record(Judgement(there[0].id, store.annotator("Ann").id, there[0].candidates, Answer("tie")))
    found = figures.read_overview(store)
    assert [(one.name, one.done, one.simulated) for one in found.campaigns] == [("main", 7, 6), ("verdict-1", 2, 2)]
    page = figures.quality_html(found)
    assert "<b>9</b> judgements are in" in page
    assert "8 of them were simulated" in page
    assert "7</b> judgements are in" in figures.quality_html(figures.read_overview(store, "main"))
    assert "6 of them were simulated" in figures.quality_html(figures.read_overview(store, "main"))


def test_progress_over_time_is_drawn_and_told_as_a_table(store: Store) -> None:
    tasks = fill(store, 60, overlap=4)
    now = datetime(2026, 3, 20, 12, tzinfo=UTC)
    who = [store.annotator("Ann").id, store.annotator("Bob").id, store.annotator("bot", simulated=True).id]
    for number, task in enumerate(tasks):
        time = (now - timedelta(days=6 - number // 10)).isoformat()
        for person in who:
            answer = Answer("preferred", winner=task.candidates[number % 2])
            store.record(Judgement(task.id, person, task.candidates, answer, created_at=time))
    page = figures.quality_html(figures.read_overview(store, now=now))
    assert page.count('<rect class="people"') == page.count('<rect class="simulated"') == 6
    assert '<th scope="row">2026-03-14</th><td>main</td><td class="n">20</td><td class="n">10</td>' in page
    assert "done about 2026-03-22" in page  # 60 are lacking, at 30 a day
    assert "Agreement over time as a table" in page
    assert 'role="img"' in page
    assert "style=" not in page


def test_a_response_that_names_its_model_is_flagged(store: Store) -> None:
    fill(store, 1)
    prompt = Prompt((Message(role="user", content=f"Who are you? {MARKUP}"),))
    told = [Candidate(prompt.id, f"I am ChatGPT. {MARKUP}", {"model": MARKUP}), Candidate(prompt.id, "Nobody.")]
    store.add_prompts([prompt])
    store.add_candidates(told)
    store.add_tasks([Task(prompt.id, tuple(candidate.id for candidate in told))])
    found = figures.read_overview(store)
    assert [flag.says for flag in found.flagged] == ["I am ChatGPT"]
    page = figures.flagged_html(found)
    assert "I am ChatGPT" in page
    assert page.count("&lt;img") == 3
    assert "<img" not in page


def test_what_people_type_is_shown_as_text(store: Store, actions: AdminActions, ids: dict[str, str]) -> None:
    fill(store, 12)
    judge(store, f"Eve {MARKUP}"[:60], 12, rationale=f"because {MARKUP}")
    for page in actions.figures(ids["Rex"], ALL):
        assert "&lt;img" in page
        assert "<img" not in page


@pytest.mark.parametrize(
    ("alpha", "low", "says"),
    [(0.9, 0.85, "reliable"), (0.85, 0.7, "not yet for sure"), (0.7, 0.5, "tentative"), (0.3, 0.1, "low"),
     (None, None, "nothing to compare")],
)  # fmt: skip
def test_alpha_is_put_in_words(alpha: float | None, low: float | None, says: str) -> None:
    assert says in figures.reading(Agreement(alpha, low, alpha, 10, 20))


# Who may do what. Each handler of the page ends in a method of `AdminActions`.

SEEING = {
    "header": lambda actions, who: actions.header(who),
    "campaigns": lambda actions, who: actions.campaigns(who),
    "figures": lambda actions, who: actions.figures(who, ALL),
}
CHANGING = {
    "people": lambda actions, who: actions.people(who),
    "invite": lambda actions, who: actions.invite(who, "admin", ""),
    "role": lambda actions, who: actions.change(who, "Ann", "annotator"),
    "disable": lambda actions, who: actions.change(who, "Ann", "disable"),
    "forget": lambda actions, who: actions.forget(who, "Ann", "delete"),
}


@pytest.mark.parametrize("caller", [None, "", "nobody", "Ann", "Off"])
@pytest.mark.parametrize("what", SEEING | CHANGING)
def test_an_annotator_and_a_stranger_may_do_nothing(
    actions: AdminActions, ids: dict[str, str], what: str, caller: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    before = actions._accounts.list()
    with pytest.raises(PermissionError, match="Refused"):
        (SEEING | CHANGING)[what](actions, ids.get(caller or "", caller))
    assert actions._accounts.list() == before
    assert [record.name for record in caplog.records] == ["rlhf.security"]


@pytest.mark.parametrize("what", CHANGING)
def test_a_reviewer_sees_figures_and_no_people(actions: AdminActions, ids: dict[str, str], what: str) -> None:
    for see in SEEING.values():
        assert see(actions, ids["Rex"])
    with pytest.raises(PermissionError):
        CHANGING[what](actions, ids["Rex"])


@pytest.mark.parametrize("what", SEEING | CHANGING)
def test_an_admin_may_do_it(
    actions: AdminActions, ids: dict[str, str], what: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rlhf.security")
    assert (SEEING | CHANGING)[what](actions, ids["Root"])
    assert not [record for record in caplog.records if "Ann" in record.getMessage()], "the log names nobody"


def test_every_event_of_the_page_asks_who_calls(store: Store, people: Accounts, ids: dict[str, str]) -> None:
    """Gradio's endpoints can be called with anything; what the page hides protects nothing."""

    async def build() -> gr.Blocks:
        return build_admin_page(store, people)

    blocks = asyncio.run(build())  # where no loop runs, Gradio makes some and leaves them open
    before = people.list()
    given = {"Ann": "admin", "campaign": ALL}
    called = 0
    for event in blocks.fns.values():
        if event.fn is None:
            continue
        called += 1
        values = [given.get(str(block.label), block.value) for block in event.inputs]
        asked = {"url": SimpleNamespace(scheme="http"), "headers": {"host": "x"}, "client": None}
        request = SimpleNamespace(username=ids["Ann"], **asked)
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


def test_an_admin_does_not_lock_themselves_out(actions: AdminActions, ids: dict[str, str]) -> None:
    with pytest.raises(UserError, match="your own account"):
        actions.change(ids["Root"], "Root", "disable")
    with pytest.raises(UserError, match="no change"):
        actions.change(ids["Root"], "Ann", "owner")


def test_the_header_offers_every_export(actions: AdminActions, ids: dict[str, str]) -> None:
    header = actions.header(ids["Root"])
    for name, kind in KINDS.items():
        assert f'href="../export/{name}.jsonl"' in header
        assert kind.description in header
