"""The pages of a lead in a browser: a task is found, decided, removed and restored, and everybody can use the pages."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Candidate, Judgement, Prompt, Task
from labeling_ui.people.accounts import Accounts
from labeling_ui.store.review.review import TaskReview
from labeling_ui.store.review.search import Wanted
from labeling_ui.store.store import Store
from tests.labeling_ui.browser.conftest import MARKDOWN, PASSWORD, PAYLOAD, new_context
from tests.labeling_ui.browser.server_process import served
from tests.labeling_ui.pages import PLAIN, add_tasks

SIZES = {"desk": (1366, 768), "phone": (390, 844)}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server over a store with tasks of every kind and in every state, on which people disagree."""
    path = tmp_path_factory.mktemp("tasks") / "labels.db"
    store = Store(path)
    people = Accounts(store.database)
    root = people.add("Root", "admin", PASSWORD)
    people.add("Rex", "reviewer", PASSWORD)
    pairs = add_tasks(
        store, 30, Campaign(overlap=3, instructions="Prefer **short** ones.", **PLAIN), MARKDOWN + PAYLOAD
    )
    ranks = add_tasks(store, 2, Campaign(name="ranks", kind="ranking", responses=3, **PLAIN), PAYLOAD, "Rank")
    rates = add_tasks(store, 2, Campaign(name="rates", kind="rating", **PLAIN), PAYLOAD, "Rate")
    for number, name in enumerate(("Ann", "Bob", "Cy")):
        who = people.add(name, password=PASSWORD)
        for task in pairs[: 9 - 2 * number]:
            answer = Answer("preferred", task.candidates[number % 2], 2, rationale=PAYLOAD)
            store.record(Judgement(task.id, who.id, task.candidates, answer, seconds=7.5, view="rendered"))
    review = TaskReview(store.database)
    review.decide(pairs[1].id, root.id, Answer("tie", rationale=PAYLOAD))
    review.change([pairs[2].id], "remove", root.id, PAYLOAD)
    review.change([pairs[3].id], "pause", root.id)
    store.close()
    with served(path) as (address,):
        yield address, path
    assert {ranks[0].campaign, rates[0].campaign} == {"ranks", "rates"}


def enter(browser: Browser, site: tuple[str, Path], name: str, **options: object) -> Page:
    context = new_context(browser, **{"locale": "en-GB", **options})  # type: ignore[arg-type]
    done = context.request.post(f"{site[0]}/sign-in", form={"name": name, "password": PASSWORD})
    assert done.ok
    page = context.new_page()
    page.goto(f"{site[0]}/admin/tasks")
    return page


def violations(page: Page) -> list[str]:
    # axe itself is a script, which the pages forbid to everybody else.
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {[node['html'][:120] for node in one['nodes'][:2]]}" for one in found]


@pytest.mark.parametrize(
    ("size", "scheme", "language"), [("desk", "light", "en-GB"), ("desk", "dark", "en-GB"), ("phone", "dark", "zh-CN")]
)
def test_every_page_can_be_used_and_nothing_runs(
    browser: Browser, site: tuple[str, Path], size: str, scheme: str, language: str,
    shoot: Callable[[Page, str], None],
) -> None:  # fmt: skip
    width, height = SIZES[size]
    page = enter(
        browser, site, "Root", viewport={"width": width, "height": height}, color_scheme=scheme, locale=language,
        bypass_csp=True,
    )  # fmt: skip
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url) if site[0] not in request.url else None)
    with_store = Store(site[1])
    tasks = {task.campaign: task.id for task in with_store.tasks()}
    divided = TaskReview(with_store.database).find(Wanted(divided=True))[0].task_ids[0]
    removed = next(task.id for task in with_store.tasks() if task.state == "removed")
    with_store.close()
    wrong: list[str] = []
    places = {
        "list": "/admin/tasks", "none": "/admin/tasks?text=nowhere", "wrong": "/admin/tasks?verdict=x",
        "divided": f"/admin/tasks/{divided}", "removed": f"/admin/tasks/{removed}",
        "ranking": f"/admin/tasks/{tasks['ranks']}", "rating": f"/admin/tasks/{tasks['rates']}",
        "instructions": "/admin/instructions/main", "definitions": "/admin/instructions/rates",
        "work": "/admin/work", "audit": "/admin/audit", "audit-none": "/admin/audit?event=forgotten",
        "missing": "/admin/tasks/nowhere",
    }  # fmt: skip
    for name, place in places.items():
        page.goto(f"{site[0]}{place}")
        wrong += [f"{name}: {each}" for each in violations(page)]
        over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        wrong += [f"{name}: {over} px too wide"] if over > 0 else []
        if name in ("list", "divided", "ranking", "instructions", "definitions", "work", "audit"):
            shoot(page, f"tasks-{name}-{size}-{scheme}-{language[:2]}")
    assert page.evaluate("window.ran") is None
    assert not [url for url in outside if not url.startswith(("data:", "blob:"))]
    assert wrong == []
    page.context.close()


def test_a_lead_finds_a_task_decides_it_and_takes_it_out(browser: Browser, site: tuple[str, Path]) -> None:
    page = enter(browser, site, "Root")
    page.get_by_role("link", name="Tasks that divide people").click()
    page.locator("a.asked").first.click()
    expect(page.get_by_role("heading", name="What people said")).to_be_visible()
    page.get_by_role("radio", name="B is clearly better").check()
    page.get_by_role("textbox", name="Reason", exact=True).fill("It ends.")
    page.get_by_role("button", name="Decide").click()
    expect(page.get_by_role("status")).to_have_text("The task is decided.")
    expect(page.get_by_text("Root decided: B is clearly better")).to_be_visible()
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("status")).to_contain_text("1 tasks were removed")
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_text("Root restored it")).to_be_visible()
    page.get_by_role("button", name="Withdraw the decision").click()
    expect(page.get_by_text("All answers count again")).to_be_visible()
    page.get_by_role("link", name="Tasks", exact=True).click()
    page.get_by_role("searchbox").fill("question 29")
    page.keyboard.press("Enter")
    expect(page.locator("ul.rows li")).to_have_count(1)
    page.locator("ul.rows input").check()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("status")).to_contain_text("1 tasks were paused")
    expect(page.locator("ul.rows .paused")).to_have_count(1)
    page.get_by_role("link", name="Work").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as CSV").click()
    assert download.value.suggested_filename == "work.csv"
    page.context.close()


def test_a_reviewer_decides_and_changes_nothing_else(browser: Browser, site: tuple[str, Path]) -> None:
    page = enter(browser, site, "Rex")
    expect(page.get_by_role("link", name="Work")).to_have_count(0)
    expect(page.get_by_role("checkbox")).to_have_count(2)
    page.locator("a.asked").first.click()
    expect(page.get_by_role("button", name="Decide")).to_be_visible()
    expect(page.get_by_role("button", name="Remove")).to_have_count(0)
    page.context.close()


def test_two_admins_edit_the_instructions_and_the_second_is_told(
    browser: Browser, site: tuple[str, Path], shoot: Callable[[Page, str], None]
) -> None:
    first, second = (enter(browser, site, "Root", bypass_csp=True) for _ in range(2))
    for page in (first, second):
        page.get_by_role("link", name="Instructions").click()
        expect(page.get_by_role("textbox", name="Instructions (Markdown)")).to_have_value("Prefer **short** ones.")
    first.get_by_role("textbox", name="Instructions (Markdown)").fill(f"Prefer *kind* ones.{MARKDOWN}{PAYLOAD}")
    first.get_by_role("button", name="Preview").click()
    expect(first.locator(".preview em").first).to_have_text("kind")
    expect(first.locator(".preview table")).to_be_visible()
    assert violations(first) == []
    shoot(first, "instructions-preview")
    first.get_by_role("button", name="Save").click()
    expect(first.get_by_role("status")).to_have_text("Saved. It applies from now on.")
    second.get_by_role("textbox", name="Instructions (Markdown)").fill("Prefer **long** ones.")
    second.get_by_role("button", name="Save").click()
    expect(second.get_by_role("alert")).to_contain_text("Not saved: somebody else changed these texts")
    expect(second.locator(".theirs em").first).to_have_text("kind")
    expect(second.get_by_role("textbox", name="Instructions (Markdown)")).to_have_value("Prefer **long** ones.")
    assert violations(second) == []
    shoot(second, "instructions-conflict")
    second.get_by_role("button", name="Save").click()
    expect(second.get_by_role("status")).to_have_text("Saved. It applies from now on.")
    second.get_by_text("Earlier editions").scroll_into_view_if_needed()
    second.locator("details.box summary").first.click()
    second.get_by_role("link", name="Put this edition into the form").first.click()
    expect(second.get_by_role("textbox", name="Instructions (Markdown)")).to_have_value(re.compile("kind"))
    for page in (first, second):
        assert page.evaluate("window.ran") is None
        page.context.close()


def test_at_400_percent_no_page_scrolls_sideways(browser: Browser, site: tuple[str, Path]) -> None:
    # WCAG 1.4.10: a window of 1280 pixels at 400% is 320 wide. Names and formulas may be long and unbroken.
    store = Store(site[1])
    prompt = Prompt(({"role": "user", "content": "W" * 300},))
    both = [Candidate(prompt.id, f"Text {n}: ${'x^2+' * 60}1$", {"model": "m" * 80}) for n in range(2)]
    campaign = Campaign(name="n" * 40, overlap=2, **PLAIN)
    rated = Campaign(name="narrow", kind="rating", aspects=("a" * 40,), overlap=2, **PLAIN)
    store.add_campaign(campaign)
    store.add_prompts([prompt])
    store.add_candidates(both)
    pair = Task(prompt.id, tuple(one.id for one in both), campaign.name)
    store.add_tasks([pair])
    (single,) = add_tasks(store, 1, rated, asked="Narrow")
    store.close()
    page = enter(browser, site, "Root", viewport={"width": 320, "height": 256})
    for name in ("tasks", f"tasks/{pair.id}", f"tasks/{single.id}", "work", "audit", "instructions/narrow"):
        page.goto(f"{site[0]}/admin/{name}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, name
