"""The labeling page in a real browser, served by a real server process."""

import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from rlhf_pipeline.labeling_ui.store import Store
from tests.labeling_ui.pages import add_pairs

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FLAGS += ["--disable-sync", "--no-first-run"]
SERVE = "import sys; from rlhf_pipeline.labeling_ui.server import serve; serve(sys.argv[1], port=0)"
# One run of each way in which text could become code: markup, Gradio's two template languages, a string's end.
PAYLOAD = (
    '<img src=x onerror="window.ran=1"><svg onload="window.ran=1"></svg><script>window.ran=1</script>'
    "${window.ran=1} {{#each (window.ran=1)}}{{/each}} `;window.ran=1;` \"' onclick=window.ran=1 &lt;b&gt;"
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason=f"no Chromium on this machine (looked for {', '.join(BROWSERS)})"),
]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "labels.db"
    store = Store(path)
    add_pairs(store, 8, suffix=PAYLOAD)
    store.close()
    return path


@pytest.fixture(scope="module")
def address(database: Path) -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-c", SERVE, str(database)], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            said = re.search(r"http://\S+", server.stdout.readline())
            assert said
            yield said[0]
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    yield page
    context.close()


def sign_in(page: Page, name: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.keyboard.press("Enter")
    expect(page.locator(".pair")).to_be_visible(timeout=20_000)


def responses(page: Page) -> list[str]:
    return page.locator(".response .text").all_inner_texts()


def progress(page: Page) -> str:
    return page.locator(".progress").inner_text()


def press(page: Page, key: str, done: int, total: int = 8) -> float:
    """Answer as soon as the page takes answers; returns the milliseconds until the next pair was there."""
    page.wait_for_timeout(350)  # the page ignores what comes sooner: it was meant for the pair before
    start = time.perf_counter()
    page.keyboard.press(key)
    expect(page.locator(".progress")).to_have_text(f"{done} of {total}")
    return 1000 * (time.perf_counter() - start)


def test_three_pairs_by_keyboard_then_reload(page: Page, database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url) if "127.0.0.1" not in request.url else None)
    sign_in(page, "Ann")
    assert progress(page) == "0 of 8"
    shown, waits = [], []
    for done, key in enumerate(("1", "t", "5"), start=1):
        shown.append(responses(page))
        waits.append(press(page, key, done))
    fourth = responses(page)
    assert fourth not in shown

    page.reload()
    expect(page.locator(".pair")).to_be_visible()
    assert progress(page) == "3 of 8"
    assert responses(page) == fourth

    store = Store(database)
    ann = store.annotator("Ann").id
    response = {candidate.id: candidate.response for candidate in store.candidates()}
    said = [j for j in store.judgements() if j.annotator_id == ann]
    store.close()
    assert [(j.verdict, j.strength) for j in said] == [("left", 3), ("tie", None), ("right", 2)]
    winners = [j.winner and response[j.winner] for j in said]
    assert winners == [shown[0][0], None, shown[2][1]]
    assert all(j.seconds is not None and 0.3 < j.seconds < 60 for j in said)
    assert page.evaluate("window.ran") is None
    assert any(PAYLOAD in text for text in shown[0] + shown[1] + shown[2])  # shown as the text that it is
    assert not [url for url in outside if not url.startswith(("data:", "blob:"))]
    with capsys.disabled():
        print(f"\nkey press to next pair: median {statistics.median(waits):.0f} ms of {len(waits)}")


def test_keys_pressed_at_once_answer_one_pair(page: Page) -> None:
    sign_in(page, "Bob")
    page.wait_for_timeout(350)
    for key in "1616":
        page.keyboard.press(key)
    expect(page.locator(".progress")).to_have_text("1 of 8")
    page.wait_for_timeout(500)
    assert progress(page) == "1 of 8"


def test_only_a_plain_key_outside_of_inputs_answers(page: Page) -> None:
    sign_in(page, "Cleo")
    page.wait_for_timeout(350)
    page.keyboard.press("Control+b")
    page.keyboard.press("x")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<textarea id=\"note\"></textarea>')")
    page.locator("#note").press_sequentially("123tbs")
    page.locator("#note").blur()
    press(page, "b", 1)


def test_the_mouse_answers_too_and_the_end_is_reached(page: Page) -> None:
    sign_in(page, "Dora")
    for done in range(1, 9):
        page.wait_for_timeout(350)
        page.get_by_role("button", name="Skip").click()
        expect(page.locator(".progress")).to_have_text(f"{done} of 8")
    expect(page.locator(".done")).to_contain_text("All done. Thank you, Dora.")


def test_a_failed_request_says_so_and_the_retry_counts_once(page: Page) -> None:
    sign_in(page, "Eve")
    page.wait_for_timeout(350)
    page.route("**/queue/join*", lambda route: route.fulfill(status=500))
    page.keyboard.press("1")
    expect(page.locator(".notice")).to_contain_text("Press the key again", timeout=10_000)
    page.unroute("**/queue/join*")
    press(page, "1", 1)
    expect(page.locator(".notice")).to_be_empty()


def test_a_phone_shows_the_responses_one_above_the_other(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    sign_in(page, "Fay")
    upper, lower = (page.locator(".response").nth(n).bounding_box() for n in range(2))
    assert upper
    assert lower
    assert upper["y"] + upper["height"] <= lower["y"]
    expect(page.get_by_text("Lower", exact=True).first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(page.locator("[data-key='6']")).to_be_in_viewport()
