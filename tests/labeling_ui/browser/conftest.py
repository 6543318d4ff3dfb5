"""A real Chromium against a real server process; everything in this folder is marked `browser`.

Screenshots are kept in the folder named by TEST_ARTIFACTS (default: `test-artifacts`).
"""

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from labeling_ui.data_model import Judgement
from labeling_ui.people.accounts import Accounts
from labeling_ui.store.campaign_rules.rules import CampaignRules
from labeling_ui.store.store import Store
from tests.labeling_ui.browser.server_process import ROOT, served
from tests.labeling_ui.pages import add_tasks, fill_kind

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FLAGS += ["--disable-sync", "--no-first-run"]
PASSWORD = "a long enough password"
PATIENCE = 60_000  # milliseconds that a page may take; Playwright's own 5 s are too few on a machine with other work
expect.set_options(timeout=PATIENCE)
# One run of each way in which text could become code: markup, Gradio's two template languages, a string's end.
PAYLOAD = (
    '<img src=x onerror="window.ran=1"><svg onload="window.ran=1"></svg><script>window.ran=1</script>'
    "${window.ran=1} {{#each (window.ran=1)}}{{/each}} `;window.ran=1;` \"' onclick=window.ran=1 &lt;b&gt;"
)
MARKDOWN = """

# To boil an egg

1. Boil *water*.
2. Wait.

```python
print('egg')
```

| egg | minutes |
|---|---|
| soft | 5 |

It takes $t^2$ minutes: [more](https://example.org/eggs).

بيضة

"""
PARAGRAPHS = "\n\n".join(
    f"Paragraph {n} says much the same as the one before it, at some length. " * 3 for n in range(9)
)
LONG: dict[str, Any] = {"n": 3, "text": PARAGRAPHS, "instructions": PARAGRAPHS[:900]}
TURNS = [{"role": role, "content": PARAGRAPHS[:600]} for role in ("user", "assistant") * 2]
SITES: dict[str, dict[str, Any]] = {
    "pairwise": {"kind": "pairwise", "n": 8, "rewrite": True, "live": True, "instructions": "Ignore the length."},
    "ranking": {"kind": "ranking", "n": 4},
    "rating": {"kind": "rating", "n": 4},
    "required": {"kind": "pairwise", "n": 4, "rationale": "required", "idle_seconds": 1, "break_minutes": 0.01},
    "markdown": {"kind": "pairwise", "n": 2, "text": MARKDOWN, "instructions": "Prefer **short** ones."},
    "close": {"kind": "pairwise", "n": 2, "texts": ["Use a **copper** pan.", "Use a **iron** pan."]},
    "breaks": {"kind": "pairwise", "n": 1, "texts": ["One line,\r\nand another.", "A line."], "rewrite": True},
    "defined": {
        "kind": "rating",
        "n": 3,
        "aspects": ("helpful", "honest"),
        "not_applicable": True,
        "definitions": {"helpful": "Does it answer what was asked?", "honest": "Is what it says true?"},
    },
    "qualifying": {"kind": "pairwise", "n": 3, "qualification": 2, "qualification_share": 1.0},
    "nothing": {"kind": "pairwise", "n": 0},
    "quota": {"kind": "pairwise", "n": 3, "quota": 1},
    "ended": {"kind": "pairwise", "n": 3, "deadline": "2001-01-31T18:00:00+01:00"},
    "others": {"kind": "pairwise", "n": 3},
    "live-only": {"kind": "pairwise", "n": 0, "live": True},
    "cut": {"kind": "pairwise", "n": 2, "ends": ["length", "stop"]},
    "huge": {"kind": "pairwise", "n": 1, "text": "*x* " * 250_000},
    "long-pairwise": {**LONG, "kind": "pairwise", "before": TURNS, "rewrite": True},
    "long-ranking": {**LONG, "kind": "ranking"},
    "long-rating": {**LONG, "kind": "rating", "aspects": ("helpful", "honest", "harmless", "kind", "brief")},
    "judged": {"kind": "pairwise", "n": 12, "instructions": "Choose the kinder one.", "rewrite": True},
}

_numbers = count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip(reason=f"no Chromium here (looked for {', '.join(BROWSERS)})"))


@dataclass(frozen=True)
class Site:
    """One campaign's pages, and its database."""

    address: str
    database: Path

    def said(self, name: str) -> list[Judgement]:
        """What this annotator has said, in order."""
        store = Store(self.database)
        who = {annotator.name: annotator.id for annotator in store.annotators()}[name]
        found = [judgement for judgement in store.judgements() if judgement.annotator_id == who]
        store.close()
        return found

    def texts(self) -> dict[str, str]:
        """All responses by id."""
        store = Store(self.database)
        found = {candidate.id: candidate.response for candidate in store.candidates()}
        store.close()
        return found

    def add_person(self, name: str) -> None:
        """An annotator with `PASSWORD`."""
        store = Store(self.database)
        Accounts(store.database).add(name, password=PASSWORD)
        store.close()

    @contextmanager
    def held(self) -> Iterator[None]:
        """The stand-in for the model does not come to its last word until the end of this."""
        hold = self.database.with_suffix(".hold")
        hold.touch()
        try:
            yield
        finally:
            hold.unlink()

    def sign_out(self, name: str) -> None:
        """End the person's sessions behind their back."""
        store = Store(self.database)
        who = {annotator.name: annotator.id for annotator in store.annotators()}[name]
        Accounts(store.database).end_sessions(who)
        store.close()


@pytest.fixture(scope="package")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Site]]:
    """A server process with a site for each of `SITES`."""
    paths = {name: tmp_path_factory.mktemp(name) / "labels.db" for name in SITES}
    for name, settings in SITES.items():
        store = Store(paths[name])
        given = dict(settings)
        fill_kind(store, overlap=100, suffix=given.pop("text", "") + PAYLOAD, **given)
        if name == "judged":  # a verdict is open beside its tasks
            add_tasks(store, 12, store.campaigns()[0].for_verdict("verdict-000-1", 100), PAYLOAD, asked="Held out")
        if name == "qualifying":
            add_tasks(store, 4, store.campaigns()[0], PAYLOAD, asked="Known", gold=f"It is right. {PAYLOAD}")
        if name == "others":
            store.annotator("Somebody else")
            CampaignRules(store.database).assign("main", ["Somebody else"])
        store.close()
    with served(*paths.values()) as addresses:
        yield {name: Site(at, path) for at, (name, path) in zip(addresses, paths.items(), strict=True)}


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def new_context(browser: Browser, **options: Any) -> BrowserContext:
    """A window of its own, whose pages have time."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE)
    return context


Visit = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser, sites: dict[str, Site]) -> Iterator[Visit]:
    """`visit("ranking", "Ann", **options)`: a new person signed in on a new context's page, with a card on it.

    A page error, or a request to anywhere else, fails the test at its end. Names get a number to be new.
    """
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def go(kind: str, name: str, **options: Any) -> Page:
        site, name = sites[kind], f"{name} {next(_numbers)}"
        site.add_person(name)
        context = new_context(browser, **{"viewport": {"width": 1280, "height": 800}, "locale": "en-GB", **options})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: wrong.append(request.url) if _is_outside(request.url, site) else None)
        # Requests are intercepted from the start: one made while Chromium only begins to do so can slip through.
        page.route("**/nowhere", lambda route: route.abort())
        sign_in(page, site, name)
        page.name = name  # type: ignore[attr-defined]
        return page

    yield go
    for context in contexts:
        context.close()
    assert not wrong


def sign_in(page: Page, site: Site, name: str) -> None:
    """Sign in without the form, and wait for the first card."""
    done = page.context.request.post(f"{site.address}/sign-in", form={"name": name, "password": PASSWORD})
    assert done.ok
    page.goto(site.address)
    expect(page.locator("[data-card], main.done h2")).to_be_visible()
    settle(page)


def settle(page: Page) -> None:
    """Wait for the next card, or the end: a press sooner than this was meant for the card before."""
    expect(page.locator("[data-card], main.done h2")).to_be_visible()
    page.wait_for_timeout(170)


def press(page: Page, *keys: str) -> None:
    """Press keys on the card that is shown."""
    for key in keys:
        page.keyboard.press(key)


def as_written(page: Page) -> list[str]:
    """The responses on the card as they were written; rendered again after that."""
    settle(page)
    press(page, "m")
    found = page.locator(".response .text").all_inner_texts()
    press(page, "m")
    return found


def finish(page: Page, *keys: str, done: int) -> None:
    """Press keys, the last of which submits; wait until that is saved and the next card takes keys."""
    with page.expect_response("**/api/judgements") as saved:
        press(page, *keys)
    assert saved.value.ok, saved.value.text()
    expect(page.locator(".progress span")).to_have_text(re.compile(rf"^{done} "))
    acknowledged(page)
    settle(page)


def waiting(page: Page) -> list[dict[str, Any]]:
    """The answers that the browser keeps because the server has not acknowledged them."""
    kept = page.evaluate("Object.entries(localStorage).filter(([key]) => key.includes('outbox'))")
    return [json.loads(value) for _, value in sorted(kept)]


def acknowledged(page: Page) -> None:
    """Wait until the server has all answers: the page's own count includes those on their way."""
    until(page, lambda: not waiting(page))


def until(page: Page, holds: Callable[[], bool]) -> None:
    """Wait until something that a locator cannot see holds."""
    deadline = time.monotonic() + PATIENCE / 1000
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        page.wait_for_timeout(20)


@pytest.fixture(scope="package")
def artifacts() -> Path:
    """Where screenshots and figures are kept."""
    folder = Path(os.environ.get("TEST_ARTIFACTS", ROOT / "test-artifacts")) / "labeling"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def shoot(artifacts: Path) -> Callable[[Page, str], object]:
    """Keep a screenshot."""
    return lambda page, name: page.screenshot(path=artifacts / f"{name}.png")


def _is_outside(url: str, site: Site) -> bool:
    return not url.startswith((site.address, "data:", "blob:"))
