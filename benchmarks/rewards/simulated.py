"""Labels by simulated annotators, through the label store: what they saw, what they said, and what is true.

The responses are excerpts of real answers to real questions: whole sentences, cut short, an answer to another question,
a loop, a word or two. What is truly better is `text_preference.hidden_preference`; none is a human judgement.
"""

import json
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from benchmarks.rewards.published import SETS, Row
from benchmarks.rewards.text_preference import hidden_preference, liked
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Candidate, Message, Prompt, Task
from labeling_ui.exchange.exports.registry import export
from labeling_ui.exchange.weighted_votes import read_votes, votes_of
from labeling_ui.store.store import Store
from pipeline.simulation.annotators import SimulatedAnnotator, simulate

CAREFUL = (SimulatedAnnotator("simulated-careful", skill=6.0), SimulatedAnnotator("simulated-steady", skill=4.0))
CLEAR = 0.2
"""Two responses whose hidden preferences differ by less are as good as each other, and not judged on."""


@dataclass(frozen=True)
class Question:
    """A prompt with four responses of different kinds."""

    prompt: Prompt
    responses: tuple[Candidate, ...]

    def liking(self, response: Candidate) -> float:
        """The hidden preference."""
        return hidden_preference(self.prompt.messages[-1]["content"], response.response)

    def clear_pairs(self) -> Iterator[tuple[Candidate, Candidate]]:
        """Every two responses that differ clearly, the better one first."""
        for one, other in combinations(self.responses, 2):
            difference = self.liking(one) - self.liking(other)
            if abs(difference) >= CLEAR:
                yield (one, other) if difference > 0 else (other, one)


def questions(data: Path, count: int, seed: int) -> list[Question]:
    """So many questions of `finegrained`, drawn with `seed`."""
    file = data / SETS["finegrained"][1]
    if not file.is_file():
        sys.exit(f"{file} is not there. Name the folder of the published data with --data.")
    known = {row["question"].strip(): _opening(row["gold"]) for row in json.loads(file.read_text(encoding="utf-8"))}
    draw = random.Random(seed)
    usable = sorted(asked for asked, answer in known.items() if len(answer.split()) >= 10)
    found = []
    for asked in draw.sample(usable, min(count, len(usable))):
        answer, other = known[asked].split(), known[draw.choice([each for each in usable if each != asked])]
        kinds = [
            " ".join(answer),
            " ".join(answer[: draw.randint(5, len(answer) - 2)]),
            other,
            " ".join(answer[: draw.randint(3, 6)] * 3),
            " ".join(answer[: draw.randint(1, 3)]),
        ]
        prompt = Prompt((Message(role="user", content=asked),))
        texts = list(dict.fromkeys(draw.sample(kinds, 4)))
        if len(texts) == 4:
            found.append(Question(prompt, tuple(Candidate(prompt.id, text) for text in texts)))
    return found


def pair_rows(
    asked: Sequence[Question], seed: int, overlap: int, each: int, skills: Sequence[float]
) -> dict[str, list[Row]]:
    """The same votes on `each` pairs a question, by annotators of these skills, as three sets of preferences.

    `majority`: one hard label where more votes prefer one, all votes alike. `votes`: the same, with the share of the
    votes as a soft label. `weighed`: as the label store exports it, votes and rows weighed by estimated skill.
    """
    draw = random.Random(seed)
    pairs = [draw.sample(list(combinations(one.responses, 2)), each) for one in asked]
    crowd = [SimulatedAnnotator(f"simulated-{number}", skill) for number, skill in enumerate(skills, 1)]
    with tempfile.TemporaryDirectory() as scratch:
        store = _judged(Path(scratch), Campaign(overlap=overlap), asked, [p for one in pairs for p in one], crowd, seed)
        labels = replace(read_votes(store), weights={})
        weighed = export(store, "preferences")
        store.close()
    alike: list[Row] = []
    for task in labels.tasks:
        for (one, other), votes in votes_of(labels, task).items():
            counted = Counter(vote.winner for vote in votes)
            if counted[one] != counted[other]:
                winner = max(one, other, key=counted.__getitem__)
                loser = other if winner == one else one
                tied = sum(vote.winner is None for vote in votes) / len(votes)
                won = sum(vote.winner == winner for vote in votes) / len(votes)
                alike.append(
                    {
                        "prompt": [dict(message) for message in labels.prompts[task.prompt_id].messages],
                        "chosen": _reply(labels.candidates[winner].response),
                        "rejected": _reply(labels.candidates[loser].response),
                        "p_chosen": won + tied / 2,
                        "p_tie": tied,
                    }
                )
    return {"majority": [{**row, "p_chosen": 1.0, "p_tie": 0.0} for row in alike], "votes": alike, "weighed": weighed}


def rows_of_kind(asked: Sequence[Question], kind: str, seed: int) -> list[Row]:
    """What careful annotators said of the same responses as `pairs` (all six), `rankings` of four, or `ratings`."""
    campaign, size = {
        "pairs": (Campaign(), 2),
        "rankings": (Campaign(kind="ranking", responses=4), 4),
        "ratings": (Campaign(kind="rating", aspects=("overall",), scale=9), 1),
    }[kind]
    groups = [group for one in asked for group in combinations(one.responses, size)]
    with tempfile.TemporaryDirectory() as scratch:
        store = _judged(Path(scratch), campaign, asked, groups, CAREFUL, seed)
        rows = export(store, {"pairs": "preferences", "rankings": "orders"}.get(kind, kind))
        store.close()
    return list(rows)


def clean_pairs(asked: Sequence[Question]) -> list[Row]:
    """Every two responses that differ clearly, as preferences without any doubt."""
    return [
        {"prompt": [dict(message) for message in one.prompt.messages], "chosen": _reply(better.response),
         "rejected": _reply(worse.response)}
        for one in asked for better, worse in one.clear_pairs()
    ]  # fmt: skip


def share_right(rows: Sequence[Row]) -> float:
    """Of the preferences that differ clearly, the share that agrees with the hidden preference."""
    differences = [
        hidden_preference(asked, row["chosen"][0]["content"]) - hidden_preference(asked, row["rejected"][0]["content"])
        for row in rows
        for asked in [row["prompt"][-1]["content"]]
    ]
    clear = [difference > 0 for difference in differences if abs(difference) >= CLEAR]
    return sum(clear) / max(1, len(clear))


def _judged(
    folder: Path,
    campaign: Campaign,
    asked: Sequence[Question],
    groups: Sequence[Sequence[Candidate]],
    annotators: Sequence[SimulatedAnnotator],
    seed: int,
) -> Store:
    store = Store(folder / "labels.db")
    store.add_campaign(campaign.model_copy(update={"gold_share": 0, "repeat_share": 0}))
    store.add_prompts([one.prompt for one in asked])
    store.add_candidates([response for one in asked for response in one.responses])
    store.add_tasks([Task(group[0].prompt_id, tuple(each.id for each in group)) for group in groups])
    simulate(store, annotators, liked, seed)
    return store


def _opening(answer: str, words: int = 40) -> str:
    """The whole sentences that an answer begins with, up to so many words."""
    kept = ""
    for sentence in re.findall(r".+?[.!?](?=\s|$)", " ".join(answer.split())):
        if len((kept + sentence).split()) > words:
            break
        kept += sentence
    return kept.strip()


def _reply(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text}]
