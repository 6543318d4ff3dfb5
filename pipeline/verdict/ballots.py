"""The bets of a verdict, replayed from the label store: what the judges of each prompt said until all had answered.

A prompt's bet is placed when its last judge answers, and never changes: an answer that is edited or taken back later,
or that comes after the verdict, is kept in the store and not counted here. Bets come in the order in which they were
placed, so the stake of each depends on nothing that is not known before. Repeats of a task are no votes. The votes of a
person who was forgotten count under the id that means nothing; where their judgements were deleted, so is each bet that
they were needed for, and the prompt is asked again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foundation.files import Row
from labeling_ui.data_model import Candidate, Task
from labeling_ui.store.store import Store
from pipeline.verdict.pairs import CANDIDATE, CHAMPION, WORTH, settled


@dataclass(frozen=True, slots=True)
class Vote:
    """What a judge said of a pair. `annotator` is an id that means nothing; a simulated one's `program` is its name."""

    annotator: str
    program: str | None
    said: str
    """"win", "tie", "both_bad" or "loss", for the candidate."""

    @property
    def value(self) -> float:
        """1 for the candidate, 0 for the champion, one half for neither."""
        return {"win": 1.0, "loss": 0.0}.get(self.said, 0.5)


@dataclass(frozen=True, slots=True)
class Bet:
    """A prompt whose judges have all answered, or that nobody has to judge (no `votes`, `settled` says why)."""

    pair: Row
    votes: tuple[Vote, ...]
    settled: str | None = None

    @property
    def value(self) -> float:
        """The mean vote."""
        return WORTH[self.settled] if self.settled else float(np.mean([vote.value for vote in self.votes]))


@dataclass(frozen=True, slots=True)
class Ballots:
    """`bets` in order; `pending` judgements, of prompts that wait for another judge; `late` ones do not count."""

    bets: Sequence[Bet]
    pending: int
    late: int

    @property
    def values(self) -> np.ndarray:
        """The mean votes: (bets,)."""
        return np.array([bet.value for bet in self.bets])


def candidates_of(pair: Row) -> dict[str, Candidate]:
    """Both responses of a pair as the label store knows them."""
    ends = pair.get("finish_reason")  # not known of pairs that were made by an earlier version
    sources = {who: {"finish_reason": ends[who]} if ends else {} for who in (CANDIDATE, CHAMPION)}
    return {who: Candidate(pair["prompt_id"], pair[who], sources[who]) for who in (CANDIDATE, CHAMPION)}


def task_of(pair: Row, campaign: str) -> Task:
    """The task of a pair that somebody has to judge."""
    return Task(pair["prompt_id"], tuple(each.id for each in candidates_of(pair).values()), campaign)


def read_ballots(store: Store, campaign: str, pairs: Sequence[Row]) -> Ballots:
    """Replay the campaign's events."""
    bets = [Bet(pair, (), why) for pair in pairs if (why := settled(pair))]
    by_task = {task_of(pair, campaign).id: pair for pair in pairs if not settled(pair)}
    wins = {task_id: candidates_of(pair)[CANDIDATE].id for task_id, pair in by_task.items()}
    given: dict[str, dict[str, Vote]] = {task_id: {} for task_id in by_task}
    placed, late = set[str](), 0
    for entry in store.log(campaign):
        task_id, said, person = entry.task.id, entry.judgement, entry.annotator
        if task_id not in by_task:
            continue
        answers = said.action != "undo" and said.answer.verdict != "skip"
        if task_id in placed:
            late += answers
            continue
        given[task_id].pop(person.id, None)
        if answers:
            won = said.answer.verdict if said.answer.winner is None else _result(said.answer.winner, wins[task_id])
            given[task_id][person.id] = Vote(person.id, person.name if person.simulated else None, won)
        if len(given[task_id]) >= entry.overlap:
            placed.add(task_id)
            bets.append(Bet(by_task[task_id], tuple(given[task_id].values())))
    pending = sum(len(votes) for task_id, votes in given.items() if task_id not in placed)
    return Ballots(bets, pending, late)


def _result(winner: str, candidate: str) -> str:
    return "win" if winner == candidate else "loss"
