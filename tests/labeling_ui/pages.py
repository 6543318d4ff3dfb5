"""What the tests of the labeling page share: pairs to judge, and reading a page as an annotator does."""

import html
import re

from rlhf_pipeline.labeling_ui.records import Candidate, Prompt, Task
from rlhf_pipeline.labeling_ui.store import Store


def add_pairs(store: Store, n: int, overlap: int = 3, suffix: str = "") -> None:
    """Add `n` prompts with a pair of responses each; `suffix` ends one response of every pair."""
    for number in range(n):
        prompt = Prompt(({"role": "user", "content": f"Question {number}?"},))
        good = Candidate(prompt.id, f"Good answer {number}.{suffix}", {"model": "tiny"})
        bad = Candidate(prompt.id, f"Bad answer {number}.", {"model": "tiny"})
        store.add_prompts([prompt])
        store.add_candidates([good, bad])
        store.add_tasks([Task(prompt.id, good.id, bad.id)], overlap=overlap)


def ticket_of(page: str) -> str:
    """The ticket that the page would send with an answer."""
    found = re.search(r'data-ticket="([^"]+)"', page)
    assert found, page
    return found[1]


def texts_of(page: str) -> tuple[str, str]:
    """The left and the right response, as shown."""
    left, right = re.findall(r'class="text" dir="auto">([^<]*)<', page)[-2:]
    return html.unescape(left), html.unescape(right)
