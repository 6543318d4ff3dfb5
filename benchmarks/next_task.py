"""From the key press that answers a task to the next task on the screen, with long rendered responses.

The real server and a real Chromium on this machine. Each of two responses is Markdown of 5,000 characters with
headings, lists, tables, code and formulas, no two of them alike. Measured in the page: from the key press to the next
task in the document, and to the frame that shows it. Beside it, what rendering one of the texts takes on the server,
once, and then out of the cache. With `--plain`, the responses have no markup.

    python benchmarks/next_task.py --json next_task.json
"""

import argparse
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.crowd.extras import require
from benchmarks.crowd.machine import machine
from benchmarks.crowd.server import Server, database
from foundation.files import write_json
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Candidate, Prompt, Task
from labeling_ui.markdown.render import to_html
from labeling_ui.people.accounts import Accounts
from labeling_ui.store.store import Store

PASSWORD = "a long enough password"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SETTLE_MS = 200  # the page takes no answer sooner after a task appears
# The time of each key press, and of the frame that shows another task than before.
MEASURE = """
window.times = [];
let pressed = 0, before = document.querySelector("[data-card]").dataset.card;
document.addEventListener("keydown", (event) => { pressed = event.timeStamp; }, { capture: true });
new MutationObserver(() => {
  const card = document.querySelector("[data-card]")?.dataset.card;
  if (!pressed || !card || card === before) return;
  const start = pressed, ready = performance.now();
  before = card;
  pressed = 0;
  requestAnimationFrame(() => setTimeout(() => window.times.push([ready - start, performance.now() - start])));
}).observe(document.body, { subtree: true, childList: true });
"""
SECTION = """## Step {n}

Mix **{n} parts** of flour with *water*, as in `mix({n})`, and let it rest for $t^{{2}} + \\frac{{{n}}}{{2}}$ minutes.

- first, the flour
- then, the [water](https://example.org/water/{n})

| minutes | degrees |
|---|---|
| {n} | 180 |

```python
def bake(minutes: int = {n}) -> str:
    return f"baked for {{minutes}} minutes"  # until it is brown
```

"""


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--tasks", type=int, default=60)
    parser.add_argument("--characters", type=int, default=5000, help="length of a response")
    parser.add_argument("--plain", action="store_true", help="without markup")
    options = parser.parse_args()
    require("playwright")
    if options.tasks < 2 or options.characters < 100:
        sys.exit("next_task.py needs 2 tasks of 100 characters or more.")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"next_task.py needs a Chromium; none of {', '.join(BROWSERS)} is here.")
    texts = [response(number, options.characters, options.plain) for number in range(2 * options.tasks)]
    figures = {"characters": options.characters, **rendering(texts[:20]), **measure(browser, texts)}
    print(f"{machine()}\n" + "\n".join(f"{name} {value}" for name, value in figures.items()), flush=True)
    if options.json:
        write_json(options.json, figures)


def response(number: int, characters: int, plain: bool) -> str:
    """A text of this length, unlike all others."""
    if plain:
        return (f"Response {number} says what was asked for, and why. " * (1 + characters // 40))[:characters]
    sections = [SECTION.format(n=100 * number + n) for n in range(1 + characters // 300)]
    whole = "".join(sections)
    return whole[: whole.rindex("## ", 0, characters)].ljust(characters - 1) + "."


def rendering(texts: list[str]) -> dict[str, float]:
    """Median milliseconds that rendering a text takes at first, and when it is asked for again."""
    found = {}
    for name in ("render_ms", "cached_ms"):
        took = []
        for text in texts:
            start = time.perf_counter()
            to_html(text)
            took.append(1000 * (time.perf_counter() - start))
        found[name] = round(statistics.median(took), 3)
    return found


def measure(browser: str, texts: list[str]) -> dict[str, Any]:
    """Milliseconds from key to document and to screen, over all tasks but the first."""
    from playwright.sync_api import sync_playwright

    with database("sqlite") as url:
        store = Store(url)
        fill(store, texts)
        Accounts(store.database).add("Ann", password=PASSWORD)
        store.close()
        server = Server(url)
        server.start()
        try:
            with sync_playwright() as playwright:
                chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
                page = chromium.new_page(viewport={"width": 1366, "height": 768})
                page.request.post(f"{server.address}/sign-in", form={"name": "Ann", "password": PASSWORD})
                page.goto(server.address)
                page.wait_for_selector("[data-card]", timeout=60_000)
                page.evaluate(MEASURE)
                for number in range(1, len(texts) // 2):
                    page.wait_for_timeout(SETTLE_MS)
                    with page.expect_response("**/api/judgements"):
                        page.keyboard.press("1")
                    page.wait_for_function(f"window.times.length === {number}")
                times = page.evaluate("window.times")
                chromium.close()
        finally:
            server.kill()
    shown = sorted(painted for _, painted in times)
    return {
        "tasks": len(times),
        "document_ms": round(statistics.median(ready for ready, _ in times), 1),
        "median_ms": round(statistics.median(shown), 1),
        "p95_ms": round(shown[int(0.95 * (len(shown) - 1))], 1),
    }


def fill(store: Store, texts: list[str]) -> None:
    """A task for every two texts."""
    campaign = Campaign(gold_share=0, repeat_share=0)
    store.add_campaign(campaign)
    prompts = [Prompt(({"role": "user", "content": f"How do I bake bread {n}?"},)) for n in range(len(texts) // 2)]
    pairs = [[Candidate(p.id, text) for text in texts[2 * n : 2 * n + 2]] for n, p in enumerate(prompts)]
    store.add_prompts(prompts)
    store.add_candidates(candidate for pair in pairs for candidate in pair)
    store.add_tasks(Task(p.id, tuple(c.id for c in pair)) for p, pair in zip(prompts, pairs, strict=True))


if __name__ == "__main__":
    main()
