"""Which pairs become tasks, and how urgent each task is, by the chooser of the configuration and all answers so far."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from foundation.files import content_id
from labeling_ui.assignment.hash_draws import draw_share
from labeling_ui.exchange.weighted_votes import BOTH_BAD, TIE, read_votes, total, votes_of
from labeling_ui.store.store import Store
from labeling_ui.store.tasks import open_tasks
from pipeline.acquisition.features import Features
from reward_model.acquisition.choosers import CHOOSERS, take
from reward_model.acquisition.linear_head import LinearHead
from reward_model.labels.splits import NOTHING, HeldOut

CHUNK = 500
"""Priorities that are written at once: annotators wait for no more."""


@dataclass(frozen=True)
class Chooser:
    """The chooser `name`, what it sees of candidates, and the `head` that was fitted to the answers so far."""

    name: str
    features: Features
    head: LinearHead
    seed: int

    @classmethod
    def after(cls, name: str, features: Features, store: Store, seed: int, held_out: HeldOut = NOTHING) -> "Chooser":
        """Fitted to every judgement in `store` of two candidates whose features are kept, verdicts left out.

        Those of prompts that are `held_out` do not count.
        """
        rows, labels = features.rows(), read_votes(store)
        unseen = {id for id, prompt in labels.prompts.items() if prompt.messages in held_out}
        pairs, shares, weights = [], [], []
        for task in labels.tasks:
            if task.prompt_id in unseen:
                continue
            for (one, other), votes in votes_of(labels, task).items():
                weight = total(votes)
                if one in rows and other in rows and weight > 0:  # 0: they all guess, and say nothing
                    equal = total(vote for vote in votes if vote.said in (TIE, BOTH_BAD))
                    pairs.append((rows[one], rows[other]))
                    shares.append((total(vote for vote in votes if vote.winner == one) + equal / 2) / weight)
                    weights.append(weight)
        places = np.array(pairs, dtype=int).reshape(-1, 2)
        differences = features.states[places[:, 0]] - features.states[places[:, 1]]
        head = LinearHead.fit(features.states, differences, np.array(shares), np.array(weights))
        return cls(name, features, head, seed)

    def worth(self, pairs: np.ndarray) -> np.ndarray:
        """How much each pair (m, 2) of places is worth asking: (m,)."""
        random = np.random.default_rng([self.seed, self.head.n])
        return CHOOSERS[self.name](self.head, self.features.states, self.features.prompts, pairs, random)

    def reason(self, worth: float) -> str:
        """What is kept of why a task was chosen."""
        return f"{self.name} {worth:.4g} after {self.head.n} comparisons"


def chosen_pairs(
    chooser: Chooser, candidates: Mapping[str, Sequence[str]], per_prompt: int, random_share: float
) -> dict[tuple[str, str], str]:
    """Pairs of candidates to ask about, each with the reason, which is empty for those that were drawn at random.

    `candidates` are ids by prompt. Each prompt has up to `per_prompt` pairs; each is drawn at random with probability
    `random_share`, by a hash, else it is the one most worth asking of those that are left and not alike.
    """
    rows = chooser.features.rows()
    found: dict[tuple[str, str], str] = {}
    asked = {prompt: list(combinations(sorted(ids), 2)) for prompt, ids in candidates.items()}
    places = np.array([(rows[a], rows[b]) for pairs in asked.values() for a, b in pairs], dtype=int).reshape(-1, 2)
    worth, start = chooser.worth(places) if len(places) else np.zeros(0), 0
    for prompt, pairs in asked.items():
        mine = slice(start, start + len(pairs))
        start += len(pairs)
        number = min(per_prompt, len(pairs))
        at_random = sum(
            draw_share("random pair", str(chooser.seed), prompt, str(slot)) < random_share for slot in range(number)
        )
        drawn = sorted(pairs, key=lambda pair: content_id(chooser.seed, *pair))[:at_random]
        found |= dict.fromkeys(drawn, "")
        left = [place for place, pair in enumerate(pairs) if pair not in drawn]
        here = worth[mine][left]
        for place in take(chooser.features.states, places[mine][left], here, number - at_random):
            found[pairs[left[place]]] = chooser.reason(float(here[place]))
    return found


def set_priorities(store: Store, chooser: Chooser, campaign: str, keep_on: Callable[[], bool] = lambda: True) -> int:
    """Give every open task of the campaign its worth as priority, the mean over its pairs; returns how many there are.

    Written in chunks, so that nobody who answers meanwhile waits long; stops between two when not told to `keep_on`.
    """
    rows = chooser.features.rows()
    with store.database.read() as connection:
        waiting = open_tasks(connection, campaign)
    tasks = [task for task in waiting if len(task.candidates) > 1 and all(each in rows for each in task.candidates)]
    pairs = [[(rows[a], rows[b]) for a, b in combinations(task.candidates, 2)] for task in tasks]
    if not pairs:
        return 0
    worth = chooser.worth(np.array([pair for each in pairs for pair in each], dtype=int))
    ends = np.cumsum([len(each) for each in pairs])
    means = [float(part.mean()) for part in np.split(worth, ends[:-1])]
    given = dict(zip([task.id for task in tasks], means, strict=True))
    ids = list(given)
    for start in range(0, len(ids), CHUNK):
        if not keep_on():
            break
        store.set_priorities({each: given[each] for each in ids[start : start + CHUNK]})
    return len(ids)
