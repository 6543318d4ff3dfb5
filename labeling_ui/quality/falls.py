"""Whether agreement in a campaign has fallen for sure: the newest tasks against those before them.

A campaign is looked at again and again as it grows, and chance would call a fall sooner or later. So it is looked at
when a quarter more tasks are shared, at exactly so many, and each look asks for more evidence than the one before: over
all looks, a campaign in which nothing changes is told of with a chance of 5% at most (alpha spending by 6/π²j²). The
interval of a difference is made of those of both alphas (Newcombe 1998).

    python -m labeling_ui.quality.falls < (a pickled address and name)
"""

import json
import math
import os
import pickle
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

from labeling_ui.assignment.answer_comparison import Category, Unit
from labeling_ui.quality.agreement import Agreement
from labeling_ui.quality.assessment import alpha_of, said_by_scale
from labeling_ui.quality.label_reader import Labels, read_labels
from labeling_ui.store.store import Store

FIRST_LOOK, GROWTH, RECENT = 60, 1.25, 0.25
_CHANCE = 0.05


@dataclass(frozen=True, slots=True)
class Fall:
    """Agreement on the newest tasks, and on all before them: surely less."""

    before: Agreement
    recent: Agreement

    @property
    def text(self) -> str:
        """The figures in words."""
        recent, before = self.recent, self.before
        return (
            f"Alpha is {recent.alpha:.2f} ({recent.low:.2f} to {recent.high:.2f}) on the {recent.tasks} newest tasks "
            f"that several people judged, and was {before.alpha:.2f} ({before.low:.2f} to {before.high:.2f}) on the "
            f"{before.tasks} before. Look at the instructions, and at the tasks that divide people."
        )


def look_at(tasks: int) -> int:
    """The number of the newest look (from 1) for so many shared tasks; 0 before the first."""
    return 0 if tasks < FIRST_LOOK else 1 + int(math.log(tasks / FIRST_LOOK) / math.log(GROWTH) + 1e-9)


def fall(labels: Labels) -> Fall | None:
    """The fall at the newest look, on the scale with the most comparable answers; None if there is none.

    Tasks come in the order of their first answers: by the last ones, those that divide people would be the newest,
    where more of them are asked in doubt.
    """
    said = {scale: _shared(units) for scale, units in said_by_scale(labels).items()}
    scale = max(said, key=lambda each: sum(map(len, said[each].values())), default=None)
    if scale is None:
        return None
    shared = {unit[0] for unit in said[scale]}
    order = list(dict.fromkeys(each.task_id for each in labels.judgements if each.task_id in shared))
    look = look_at(len(order))
    if not look:
        return None
    order = order[: math.ceil(FIRST_LOOK * GROWTH ** (look - 1) - 1e-6)]
    recent = max(FIRST_LOOK // 3, round(RECENT * len(order)))
    chance = _CHANCE * 6 / (math.pi * look) ** 2
    units = [
        {unit: given for unit, given in said[scale].items() if unit[0] in part}
        for part in (set(order[:-recent]), set(order[-recent:]))
    ]
    before, now = (alpha_of(scale, each, 1 - 2 * chance) for each in units)
    if before.alpha is None or before.low is None or now.alpha is None or now.high is None:
        return None
    if before.alpha - now.alpha <= math.hypot(before.alpha - before.low, now.high - now.alpha):
        return None
    return Fall(*(alpha_of(scale, each) for each in units))


def _shared(units: Mapping[Unit, Mapping[str, Category]]) -> dict[Unit, Mapping[str, Category]]:
    return {unit: given for unit, given in units.items() if len(given) > 1}


def _main() -> None:
    os.nice(10)
    address, campaign = pickle.loads(sys.stdin.buffer.read())
    with closing(Store(address)) as store:
        found = fall(read_labels(store, campaign))
    print(json.dumps(found and found.text))


if __name__ == "__main__":
    _main()
