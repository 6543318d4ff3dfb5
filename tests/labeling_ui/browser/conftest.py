"""A real Chromium against a real server process; everything in this folder is marked `browser`.

Screenshots and measured times are kept in the folder named by TEST_ARTIFACTS (default: `test-artifacts`).
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
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
from labeling_ui.store.store import Store
from tests.labeling_ui.pages import fill_kind

ROOT = Path(__file__).parents[3]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FLAGS += ["--disable-sync", "--no-first-run"]
PASSWORD = "a long enough password"
# One run of each way in which text could become code: markup, Gradio's two template languages, a string's end.
PAYLOAD = (
    '<img src=x onerror="window.ran=1"><svg onload="window.ran=1"></svg><script>window.ran=1</script>'
    "${window.ran=1} {{#each (window.ran=1)}}{{/each}} `;window.ran=1;` \"' onclick=window.ran=1 &lt;b&gt;"
)
SITES: dict[str, dict[str, Any]] = {
    "pairwise": {"kind": "pairwise", "n": 8, "rewrite": True, "live": True, "instructions": "Ignore the length."},
    "ranking": {"kind": "ranking", "n": 4},
    "rating": {"kind": "rating", "n": 4},
    "required": {"kind": "pairwise", "n": 4, "rationale": "required", "idle_seconds": 1, "break_minutes": 0.01},
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
        fill_kind(store, overlap=100, suffix=PAYLOAD, **settings)
        store.close()
    command = [sys.executable, "-m", "tests.labeling_ui.browser.serving", *map(str, paths.values())]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            yield {name: Site(server.stdout.readline().strip(), path) for name, path in paths.items()}
        finally:
            server.terminate()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


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
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, "locale": "en-GB", **options})
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
    expect(page.locator("[data-card]")).to_be_visible(timeout=20_000)
    settle(page)


def settle(page: Page) -> None:
    """Wait for the next card, or the end: a press sooner than this was meant for the card before."""
    expect(page.locator("[data-card], main.done h2")).to_be_visible()
    page.wait_for_timeout(170)


def press(page: Page, *keys: str) -> None:
    """Press keys on the card that is shown."""
    for key in keys:
        page.keyboard.press(key)


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
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold in 10 seconds"
        page.wait_for_timeout(20)


@pytest.fixture(scope="package")
def artifacts() -> Path:
    """Where screenshots and figures are kept."""
    folder = Path(os.environ.get("TEST_ARTIFACTS", ROOT / "test-artifacts")) / "labeling"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def shoot(artifacts: Path) -> Callable[[Page, str], None]:
    """Keep a screenshot."""

    def take(page: Page, name: str) -> None:
        page.screenshot(path=artifacts / f"{name}.png")

    return take


def keep_times(folder: Path, name: str, milliseconds: list[float], **more: float) -> dict[str, float]:
    """Add a measurement to `times.json`; returns it."""
    path = folder / "times.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    figures = {"median_ms": round(statistics.median(milliseconds), 1), "max_ms": round(max(milliseconds), 1), **more}
    path.write_text(json.dumps({**known, name: {**figures, "n": len(milliseconds)}}, indent=2) + "\n", encoding="utf-8")
    return figures


def _is_outside(url: str, site: Site) -> bool:
    return not url.startswith((site.address, "data:", "blob:"))
