"""Bets are placed when a prompt's judges have all answered, in that order, and stay as they were placed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from foundation.files import Row
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Judgement, Prompt
from labeling_ui.people.forgetting import forget
from labeling_ui.store.store import Store
from pipeline.verdict.ballots import candidates_of, read_ballots, task_of
from pipeline.verdict.figures import automatic_judges, by_annotator, by_length, by_topic, length_controlled
from pipeline.verdict.pairs import settled
from pipeline.verdict.standing import Plan, standing

NAME = "verdict-000-1"


def pair(number: int, candidate: str = "yes of course", champion: str = "no") -> Row:
    prompt = Prompt(({"role": "user", "content": f"held out {number}"},))
    row: Row = {"prompt_id": prompt.id, "prompt": [dict(each) for each in prompt.messages]}
    return {**row, "candidate": candidate, "champion": champion, "scores": {"length": {"candidate": 3, "champion": 1}}}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "labels.db")
    yield opened
    opened.close()


def opened(store: Store, pairs: list[Row], judges: int = 1) -> None:
    store.add_campaign(Campaign(repeat_share=0).for_verdict(NAME, judges))
    store.add_prompts(Prompt(tuple(each["prompt"])) for each in pairs)
    store.add_candidates(one for each in pairs for one in candidates_of(each).values())
    store.add_tasks(task_of(each, NAME) for each in pairs if not settled(each))


def say(store: Store, row: Row, who: str, said: str, action: str = "answer") -> None:
    """`said`: candidate, champion, or a verdict."""
    task, there = task_of(row, NAME), candidates_of(row)
    answer = Answer("preferred", there[said].id) if said in there else Answer(said)  # type: ignore[arg-type]
    person = store.annotator(who).id
    store.record(Judgement(task.id, person, task.candidates, answer, action=action))  # type: ignore[arg-type]


def values(store: Store, pairs: list[Row]) -> list[float]:
    return [float(value) for value in read_ballots(store, NAME, pairs).values]


def test_votes_are_worth_one_nothing_or_one_half(store: Store) -> None:
    pairs = [pair(number) for number in range(5)]
    opened(store, pairs)
    for row, said in zip(pairs, ("candidate", "champion", "tie", "both_bad", "skip"), strict=True):
        say(store, row, "ann", said)
    ballots = read_ballots(store, NAME, pairs)
    assert values(store, pairs) == [1, 0, 0.5, 0.5]
    assert [vote.said for bet in ballots.bets for vote in bet.votes] == ["win", "loss", "tie", "both_bad"]


def test_how_both_responses_ended_is_known_of_both_or_of_neither() -> None:
    assert [one.source for one in candidates_of(pair(1)).values()] == [{}, {}]
    ended = {**pair(1), "finish_reason": {"candidate": "length", "champion": "stop"}}
    assert [one.source["finish_reason"] for one in candidates_of(ended).values()] == ["length", "stop"]


def test_a_bet_is_the_mean_of_its_judges_and_is_placed_when_the_last_has_answered(store: Store) -> None:
    pairs = [pair(0), pair(1)]
    opened(store, pairs, judges=2)
    say(store, pairs[0], "ann", "candidate")
    say(store, pairs[1], "ann", "champion")
    assert (values(store, pairs), read_ballots(store, NAME, pairs).pending) == ([], 2)
    say(store, pairs[1], "bob", "candidate")
    say(store, pairs[0], "bob", "candidate")
    assert values(store, pairs) == [0.5, 1]


def test_what_is_changed_before_the_bet_is_placed_counts_and_what_comes_later_does_not(store: Store) -> None:
    pairs = [pair(0)]
    opened(store, pairs, judges=2)
    say(store, pairs[0], "ann", "candidate")
    say(store, pairs[0], "ann", "champion", "edit")
    assert read_ballots(store, NAME, pairs).pending == 1
    say(store, pairs[0], "bob", "champion")
    assert values(store, pairs) == [0]
    say(store, pairs[0], "bob", "candidate", "edit")
    store.undo(store.annotator("ann").id, "a press of undo")
    say(store, pairs[0], "ann", "candidate")
    say(store, pairs[0], "cat", "candidate")
    ballots = read_ballots(store, NAME, pairs)
    assert [float(value) for value in ballots.values] == [0]
    assert ballots.late == 3


def test_an_answer_that_is_taken_back_before_the_others_came_is_no_vote(store: Store) -> None:
    pairs = [pair(0)]
    opened(store, pairs, judges=2)
    say(store, pairs[0], "ann", "candidate")
    store.undo(store.annotator("ann").id, "undone")
    say(store, pairs[0], "bob", "champion")
    assert (values(store, pairs), read_ballots(store, NAME, pairs).pending) == ([], 1)


def test_a_pair_that_is_shown_again_is_no_second_vote(store: Store) -> None:
    pairs = [pair(number) for number in range(12)]
    opened(store, pairs)
    store.add_campaign(Campaign(repeat_share=0.5, gold_share=0).for_verdict(NAME, 1))
    ann, repeats = store.annotator("ann").id, 0
    while shown := store.next_assignment(ann):
        repeats += shown.task.repeat_of is not None
        store.record(shown.judgement(Answer("tie")))
    assert repeats
    assert values(store, pairs) == [0.5] * 12
    assert read_ballots(store, NAME, pairs).late == 0


def test_nothing_is_won_where_nobody_is_asked(store: Store) -> None:
    pairs = [pair(0, "the same", "the same "), pair(1, " ", "something"), pair(2, "something", "")]
    opened(store, pairs)
    assert [settled(row) for row in pairs] == ["identical", "candidate is empty", "champion is empty"]
    assert values(store, pairs) == [0.5, 0, 0.5]
    assert store.tasks() == []


def test_a_forgotten_judge_s_votes_stay_without_a_name_or_go_and_are_asked_again(store: Store) -> None:
    pairs = [pair(number) for number in range(4)]
    opened(store, pairs)
    plan = Plan(campaign=NAME, candidate={}, champion={}, judges=1, alpha=0.05, margin=0.5)
    for row in pairs[:2]:
        say(store, row, "Ann Example", "candidate")
    say(store, pairs[2], "bob", "champion")
    before = standing(store, plan, pairs)
    assert "Ann" not in str(before)
    gone = forget(store.database, "Ann Example", "keep").name
    assert standing(store, plan, pairs) == before
    forget(store.database, gone, "delete")
    assert values(store, pairs) == [0]
    assert store.waiting(NAME) == 3
    say(store, pairs[0], "bob", "champion")
    assert values(store, pairs) == [0, 0]


# --- what is told beside the decision ---


def test_figures_beside_the_decision_are_of_the_votes(store: Store) -> None:
    pairs = [pair(number, "a long answer it is") for number in range(6)] + [pair(6, "no no", "yes of course")]
    opened(store, pairs)
    for row in pairs[:4]:
        say(store, row, "ann", "candidate")
    for row in pairs[4:6]:
        say(store, row, "bob", "champion")
    say(store, pairs[6], "bob", "tie")
    bets = read_ballots(store, NAME, pairs).bets
    told = [(each["judgements"], each["wins"], each["ties"], each["win_rate"]) for each in by_annotator(bets)]
    assert sorted(told) == [(3, 0, 1, pytest.approx(1 / 6)), (4, 4, 0, 1.0)]
    assert [(each["candidate"], each["prompts"]) for each in by_length(bets)] == [("shorter", 1), ("longer", 6)]
    judged = automatic_judges(bets)["length"]
    assert judged["win_rate"] == 1
    assert judged["agreement"]["prompts"] == 6
    assert judged["agreement"]["share"] == pytest.approx(4 / 6)


def test_win_rates_by_the_topics_of_the_prompts_file(store: Store) -> None:
    topics = ["cooking", None, "cooking", "sums", "cooking", "sums"]
    pairs = [pair(at) | ({"topic": topic} if topic else {}) for at, topic in enumerate(topics)]
    opened(store, pairs)
    for row in pairs:
        say(store, row, "ann", "champion" if row.get("topic") == "sums" else "candidate")
    found = by_topic(read_ballots(store, NAME, pairs).bets)
    told = [(each["topic"], each["prompts"], each["win_rate"]) for each in found]
    assert told == [("cooking", 3, 1.0), ("sums", 2, 0.0)]
    assert all(0 <= each["interval"][0] <= each["interval"][1] <= 1 for each in found)


def test_a_candidate_that_wins_by_length_alone_is_even_at_equal_length(store: Store) -> None:
    words = [(2, 8), (8, 2), (3, 9), (9, 3), (4, 5), (5, 4), (2, 9), (9, 2), (12, 2), (14, 3), (13, 2), (15, 4)]
    pairs = [pair(at, "a " * one, "b " * other) for at, (one, other) in enumerate(words)]
    opened(store, pairs)
    for row in pairs:
        longer = len(row["candidate"].split()) > len(row["champion"].split())
        say(store, row, "ann", "candidate" if longer else "champion")
    bets = read_ballots(store, NAME, pairs).bets
    found = length_controlled(bets)
    assert found is not None
    assert sum(bet.value for bet in bets) / len(bets) > 0.65
    assert abs(found["win_rate"] - 0.5) < 0.1
    assert found["interval"][0] < found["win_rate"] < found["interval"][1]
    assert length_controlled(bets[:5]) is None
