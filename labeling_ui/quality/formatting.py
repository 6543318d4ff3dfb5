"""Whether rendering changes what wins: how often the response with more Markdown wins, rendered and as it was written.

Plain records in, plain numbers out. Annotators choose themselves when to look at a text as it was written, and nobody
is asked to: a difference is a reason to look at such tasks, and no proof of a cause.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np

from foundation.intervals import clustered_share_interval
from labeling_ui.assignment.answer_comparison import pair_orders
from labeling_ui.data_model import View
from labeling_ui.markdown.constructs import constructs
from labeling_ui.quality.intervals import Share
from labeling_ui.quality.label_reader import Labels, read_labels
from labeling_ui.store.store import Store

Reading = Literal["few", "more", "less", "none"]
WORDS: dict[Reading, str] = {
    "few": "Too few to tell whether rendering changes what wins.",
    "more": "Markdown wins more often where it is rendered.",
    "less": "Markdown wins less often where it is rendered.",
    "none": "Rendering makes no difference of ten points or more.",
}
MOST = 5000
"""So many choices of each kind are looked at, the newest."""
_FEWEST_PROMPTS = 10
_SMALL = 0.1


@dataclass(frozen=True, slots=True)
class FormattingBias:
    """Win rates of the response with more Markdown: `n` choices between two that differ in it, with 95% intervals.

    `rendered` where nothing else was looked at; `raw` where the text was also, or only, looked at as it was written.
    `difference` is the first less the second; None without both. `reading`: it wins "more" or "less" often rendered,
    "none" if the difference is surely below ten points, and "few" if there is too little to tell.
    """

    rendered: Share
    raw: Share
    difference: float | None
    low: float | None
    high: float | None
    reading: Reading


def formatting_bias(labels: Labels, responses: Mapping[str, str]) -> FormattingBias:
    """The figures of `labels`; `responses` are the candidates' texts by id."""
    known: dict[str, int | None] = {}
    looked: Counter[str] = Counter()
    cases: dict[str, list[tuple[float, str]]] = {"rendered": [], "raw": []}
    for view, winner, loser, prompt in _choices(labels):
        kind = "rendered" if view == "rendered" else "raw"
        looked[kind] += 1
        if looked[kind] > MOST:
            continue
        for one in (winner, loser):
            if one not in known:
                known[one] = constructs(responses[one]) if one in responses else None
        more, less = known[winner], known[loser]
        if more is not None and less is not None and more != less:
            cases[kind].append((float(more > less), prompt))
    rendered, raw = (_share(cases[kind]) for kind in ("rendered", "raw"))
    prompts = min(len({prompt for _, prompt in of}) for of in cases.values())
    return FormattingBias(rendered, raw, *_difference(rendered, raw, prompts))


def read(store: Store) -> FormattingBias:
    """The figures of all campaigns but verdicts."""
    return formatting_bias(read_labels(store), {each.id: each.response for each in store.candidates()})


def in_words(bias: FormattingBias) -> str:
    """The figures in a sentence or two; nothing where there was no choice to count."""
    won = [
        f"{100 * one.value:.0f}% ({100 * one.low:.0f} to {100 * one.high:.0f}) of {one.n} choices {seen}"
        for one, seen in ((bias.rendered, "seen rendered alone"), (bias.raw, "also seen as it was written"))
        if one.value is not None and one.low is not None and one.high is not None
    ]
    if not won:
        return ""
    return f"The response with more Markdown won {' and '.join(won)} (95% intervals). {WORDS[bias.reading]}"


def _choices(labels: Labels) -> Iterator[tuple[View, str, str, str]]:
    """How the texts were shown, winner, loser and prompt of each choice between two responses, the newest first."""
    for each in reversed(labels.judgements):
        task = labels.tasks[each.task_id]
        if each.view is None or task.gold is not None or task.repeat_of is not None:
            continue
        for (_, first, second), order in pair_orders(each.answer, task).items():
            if order:
                yield each.view, *((first, second) if order > 0 else (second, first)), task.prompt_id


def _share(cases: list[tuple[float, str]]) -> Share:
    if not cases:
        return Share(0)
    won = np.array([each for each, _ in cases])
    low, high = clustered_share_interval(won, [prompt for _, prompt in cases])
    return Share(len(cases), float(won.mean()), low, high)


def _difference(
    one: Share, other: Share, prompts: int
) -> tuple[float | None, float | None, float | None, Reading]:  # fmt: skip
    """The difference with its interval, put together from those of the two shares (Newcombe 1998, method 10)."""
    if one.value is None or one.low is None or one.high is None:
        return None, None, None, "few"
    if other.value is None or other.low is None or other.high is None:
        return None, None, None, "few"
    difference = one.value - other.value
    low = difference - sqrt((one.value - one.low) ** 2 + (other.high - other.value) ** 2)
    high = difference + sqrt((one.high - one.value) ** 2 + (other.value - other.low) ** 2)
    reading: Reading = "few"
    if prompts >= _FEWEST_PROMPTS:
        reading = "more" if low > 0 else "less" if high < 0 else "none" if max(-low, high) < _SMALL else "few"
    return difference, low, high, reading
