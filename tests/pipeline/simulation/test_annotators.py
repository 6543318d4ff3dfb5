"""Simulated annotators: how they answer by given scores, and that a killed run goes on as if it had not been."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Assignment, Candidate, Judgement, Prompt, Task
from labeling_ui.store.store import Store
from pipeline.simulation.annotators import SimulatedAnnotator, default_annotators, simulate

ASK = "How do I repot a plant?"
GOOD, FAIR, LOOP = "Choose a larger pot and fresh soil.", "Choose a larger pot and", "plant plant plant"
SCORES = {GOOD: 1.5, FAIR: 0.5, LOOP: -3.0, "nothing but plant": -3.0}


def scores(assignment: Assignment) -> Sequence[float]:
    """What is liked here."""
    return [SCORES.get(one.response, 1.5) for one in assignment.shown]


def judged(annotator: SimulatedAnnotator, assignment: Assignment, seed: int = 0) -> Judgement:
    """What this annotator says."""
    return annotator.judge(assignment, scores(assignment), seed)


PLAIN = Campaign(gold_share=0, repeat_share=0)


def assignment(number: int, *responses: str, campaign: Campaign = PLAIN) -> Assignment:
    """One task out of many, whose prompt differs by its number; the responses from left to right."""
    prompt = Prompt(({"role": "user", "content": f"{ASK} ({number})"},))
    shown = tuple(Candidate(prompt.id, text) for text in responses)
    return Assignment(Task(prompt.id, tuple(one.id for one in shown)), "someone", campaign, prompt, shown)


def lefts(annotator: SimulatedAnnotator, left: str, right: str, pairs: int = 400) -> float:
    """Share of decisive answers that went to the left."""
    sides = [judged(annotator, assignment(number, left, right)).side for number in range(pairs)]
    return sides.count("left") / (sides.count("left") + sides.count("right"))


def test_more_skilled_annotators_agree_more_with_the_scores() -> None:
    agreement = [lefts(SimulatedAnnotator("same", skill), GOOD, FAIR) for skill in (0.0, 1.0, 4.0)]
    assert 0.4 < agreement[0] < 0.6
    # P(left) = sigmoid(skill * 1), but for ties: about 0.73 and 0.98
    assert 0.66 < agreement[1] < 0.82
    assert agreement[2] > 0.95


def test_a_biased_annotator_leans_left_and_an_unbiased_one_does_not() -> None:
    equal = GOOD.replace("larger", "bigger")
    assert lefts(SimulatedAnnotator("biased", 4.0, left_bias=1.0), GOOD, equal) > 0.65
    assert 0.4 < lefts(SimulatedAnnotator("fair", 4.0), GOOD, equal) < 0.6
    assert sum(annotator.left_bias > 0 for annotator in default_annotators()) == 1


def test_without_a_bias_the_order_shown_does_not_change_the_choice() -> None:
    annotator = SimulatedAnnotator("fair", 1.0)
    for number in range(50):
        one, other = assignment(number, GOOD, FAIR), assignment(number, FAIR, GOOD)
        assert judged(annotator, one, seed=3).answer == judged(annotator, other, seed=3).answer


def test_of_no_difference_two_terrible_responses_are_both_bad_and_others_a_tie() -> None:
    def verdicts(left: str, right: str) -> set[str]:
        return {judged(SimulatedAnnotator("any", 1.0), assignment(n, left, right)).answer.verdict for n in range(100)}

    assert verdicts(LOOP, "nothing but plant") == {"both_bad", "preferred"}
    assert verdicts(GOOD, FAIR) == {"tie", "preferred"}


def test_strength_grows_with_the_difference() -> None:
    annotator = SimulatedAnnotator("any", 1.0)
    mild = [judged(annotator, assignment(n, GOOD, FAIR)).answer.strength or 0 for n in range(100)]
    stark = [judged(SimulatedAnnotator("any", 4.0), assignment(n, GOOD, LOOP)).answer.strength or 0 for n in range(100)]
    assert sum(mild) / 100 < 2 < sum(stark) / 100
    assert set(stark) == {3}


def test_rankings_and_ratings_follow_the_scores() -> None:
    annotator = SimulatedAnnotator("careful", 60.0)
    responses = (LOOP, GOOD, FAIR)
    ranked = assignment(0, *responses, campaign=Campaign(kind="ranking", responses=3))
    loop, good, fair = (one.id for one in ranked.shown)
    assert judged(annotator, ranked).answer == Answer("ranked", ranking=((good,), (fair,), (loop,)))
    rating = Campaign(kind="rating", aspects=("clear",))
    rated = [judged(annotator, assignment(0, each, campaign=rating)).answer.ratings for each in responses]
    found = [score for each in rated for score in each["clear"].values()]
    # -3, 1.5 and 0.5 in a range from -4 to 2.5, divided into seven.
    assert found == [2, 6, 5]


def filled_store(path: Path, pairs: int = 12, overlap: int = 2, campaign: Campaign = PLAIN) -> Store:
    """A store with as many open tasks."""
    store = Store(path)
    store.add_campaign(campaign)
    assignments = [assignment(number, GOOD, FAIR) for number in range(pairs)]
    store.add_prompts([each.prompt for each in assignments])
    store.add_candidates([candidate for each in assignments for candidate in each.shown])
    store.add_tasks([each.task for each in assignments], overlap=overlap)
    return store


def content(store: Store) -> list[Judgement]:
    """What was answered, without when."""
    names = {annotator.id: annotator.name for annotator in store.annotators()}
    said = [Judgement(j.task_id, names[j.annotator_id], j.shown, j.answer) for j in store.judgements()]
    return sorted(said, key=lambda j: (j.task_id, j.annotator_id))


class Killed(Exception):
    """Stands for the end of the process."""


def test_simulating_answers_every_task_as_marked_annotators(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "labels.db")
    calls: list[int] = []
    assert simulate(store, default_annotators(), scores, seed=1, progress=calls.append) == 24
    assert calls == list(range(1, 25))
    counts = store.counts()
    assert counts.judgements == counts.simulated_judgements == 24
    assert all(annotator.simulated for annotator in store.annotators())
    per_annotator = [sum(j.annotator_id == a.id for j in store.judgements()) for a in store.annotators()]
    assert sum(per_annotator) == 24
    assert max(per_annotator) - min(per_annotator) <= 2
    assert simulate(store, default_annotators(), scores, seed=1) == 0


def test_a_killed_run_goes_on_to_the_same_answers(tmp_path: Path) -> None:
    whole = filled_store(tmp_path / "whole.db")
    simulate(whole, default_annotators(), scores, seed=1)

    def kill_at_seven(done: int) -> None:
        if done == 7:
            raise Killed

    store = filled_store(tmp_path / "killed.db")
    with pytest.raises(Killed):
        simulate(store, default_annotators(), scores, seed=1, progress=kill_at_seven)
    store.close()
    store = Store(tmp_path / "killed.db")
    assert simulate(store, default_annotators(), scores, seed=1) == 24 - 7
    assert content(store) == content(whole)


def test_another_seed_gives_other_answers(tmp_path: Path) -> None:
    stores = [filled_store(tmp_path / f"{seed}.db") for seed in (1, 2)]
    for seed, store in enumerate(stores, start=1):
        simulate(store, default_annotators(), scores, seed=seed)
    assert content(stores[0]) != content(stores[1])
