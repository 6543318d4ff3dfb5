"""Simulated annotators: what they like, how they answer, and that a killed run goes on as if it had not been."""

from pathlib import Path

import pytest

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Assignment, Candidate, Judgement, Prompt, Task
from labeling_ui.store.store import Store
from pipeline.simulation.annotators import SimulatedAnnotator, default_annotators, simulate
from pipeline.simulation.hidden_preference import hidden_preference, is_finished, repeated_share

ASK = "How do I repot a plant?"
GOOD = (
    "Choose a pot slightly larger than the old one. Loosen the roots of the plant gently, set it in fresh soil, "
    "press lightly and water it well. Then keep it out of the sun."
)
CUT_OFF = GOOD.removesuffix(" keep it out of the sun.") + " keep it out of the"


@pytest.mark.parametrize(
    "text",
    [
        "Yes.",
        "Really?",
        'She said, "Stop."',
        "Bring these (and a towel)",
        "**Enjoy your meal!**",
        "Have fun! 🎉",
        "```python\nprint(1)\n```",
        "お元気ですか。",
        "It weighs 30.",
    ],
)
def test_texts_that_end_as_a_writer_would_end_them_are_finished(text: str) -> None:
    assert is_finished(text)


@pytest.mark.parametrize(
    "text", ["", "and then the", "First,", "Steps:\n1. Mix.\n2.", "```python\nprint(1).", "a (", "such as **"]
)
def test_texts_that_stop_in_the_middle_are_not_finished(text: str) -> None:
    assert not is_finished(text)


def test_repeated_share_counts_the_word_pairs_that_came_before() -> None:
    # a b, b c, c a, then a b and b c again: two of five.
    assert repeated_share(["a", "b", "c", "a", "b", "c"]) == pytest.approx(2 / 5)
    assert repeated_share(["a"]) == 0.0


def test_hidden_preference_is_the_sum_that_it_documents() -> None:
    # Finished 1; 34 words are in the band 1; of "repot" and "plant" only "plant" comes back 0.25;
    # of 33 word pairs one, "of the", comes twice: -3/33.
    assert hidden_preference(ASK, GOOD) == pytest.approx(2.25 - 3 / 33)
    # Finished, but 4 of 5 words 0.8; 4 of 8 words for the length; nothing from the prompt.
    assert hidden_preference(ASK, "Use a bigger one.") == pytest.approx(0.8 + 4 / 8)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        pytest.param(GOOD, CUT_OFF, id="finished beats cut off"),
        pytest.param(
            " ".join(f"plant{n}" for n in range(25)) + ".",
            " ".join(f"plant{n}" for n in range(150)) + ".",
            id="25 beats 150",
        ),
        pytest.param(GOOD, "Water the plant well. " * 8, id="fresh words beat a loop"),
        pytest.param(CUT_OFF, "plant " * 40, id="even cut off, sense beats one word over and over"),
        pytest.param(CUT_OFF, "Plant plant plant pot pot pot.", id="even cut off, sense beats a short loop"),
        pytest.param(CUT_OFF, ASK, id="even cut off, an answer beats the question repeated"),
        pytest.param(CUT_OFF, "Pot. Soil.", id="even cut off, sentences beat single words"),
        pytest.param(GOOD, "Yes.", id="a sentence beats a word"),
        pytest.param("Use a bigger pot.", "", id="a few words beat nothing"),
        pytest.param(GOOD, "!!! ... !!!", id="words beat punctuation"),
        pytest.param(GOOD, GOOD.replace("plant", "thing"), id="an answer to the question beats one to anything"),
    ],
)
def test_hidden_preference_orders_responses(better: str, worse: str) -> None:
    assert hidden_preference(ASK, better) > hidden_preference(ASK, worse)


def test_hidden_preference_is_bounded() -> None:
    for text in ["", ".", "no " * 5000, "plant " * 5000, GOOD, "a", "\n\n", GOOD * 50]:
        assert -4.0 <= hidden_preference(ASK, text) <= 2.5


PLAIN = Campaign(gold_share=0, repeat_share=0)


def assignment(number: int, *responses: str, campaign: Campaign = PLAIN) -> Assignment:
    """One task out of many, whose prompt differs by its number; the responses from left to right."""
    prompt = Prompt(({"role": "user", "content": f"{ASK} ({number})"},))
    shown = tuple(Candidate(prompt.id, text) for text in responses)
    return Assignment(Task(prompt.id, tuple(one.id for one in shown)), "someone", campaign, prompt, shown)


def lefts(annotator: SimulatedAnnotator, left: str, right: str, pairs: int = 400) -> float:
    """Share of decisive answers that went to the left."""
    sides = [annotator.judge(assignment(number, left, right), seed=0).side for number in range(pairs)]
    return sides.count("left") / (sides.count("left") + sides.count("right"))


def test_more_skilled_annotators_agree_more_with_the_hidden_preference() -> None:
    agreement = [lefts(SimulatedAnnotator("same", skill), GOOD, CUT_OFF) for skill in (0.0, 1.0, 4.0)]
    assert 0.4 < agreement[0] < 0.6
    # P(left) = sigmoid(skill * 1), but for ties: about 0.73 and 0.98
    assert 0.66 < agreement[1] < 0.82
    assert agreement[2] > 0.95


def test_a_biased_annotator_leans_left_and_an_unbiased_one_does_not() -> None:
    equal = GOOD.replace("old", "new")
    assert lefts(SimulatedAnnotator("biased", 4.0, left_bias=1.0), GOOD, equal) > 0.65
    assert 0.4 < lefts(SimulatedAnnotator("fair", 4.0), GOOD, equal) < 0.6
    assert sum(annotator.left_bias > 0 for annotator in default_annotators()) == 1


def test_without_a_bias_the_order_shown_does_not_change_the_choice() -> None:
    annotator = SimulatedAnnotator("fair", 1.0)
    for number in range(50):
        one, other = assignment(number, GOOD, CUT_OFF), assignment(number, CUT_OFF, GOOD)
        assert annotator.judge(one, seed=3).answer == annotator.judge(other, seed=3).answer


def test_two_terrible_responses_are_both_bad() -> None:
    judgement = SimulatedAnnotator("any", 4.0).judge(assignment(0, "", "plant " * 90), seed=0)
    assert judgement.answer == Answer("both_bad")


def test_strength_grows_with_the_difference() -> None:
    annotator = SimulatedAnnotator("any", 4.0)
    tamer = GOOD.replace("plant", "thing")
    mild = [annotator.judge(assignment(n, GOOD, tamer), 0).answer.strength or 0 for n in range(100)]
    stark = [annotator.judge(assignment(n, GOOD, "plant " * 40), 0).answer.strength or 0 for n in range(100)]
    assert sum(mild) / 100 < 2 < sum(stark) / 100
    assert set(stark) == {3}


def test_rankings_and_ratings_follow_the_hidden_preference() -> None:
    annotator = SimulatedAnnotator("careful", 60.0)
    responses = ("plant " * 40, GOOD, CUT_OFF)
    ranked = assignment(0, *responses, campaign=Campaign(kind="ranking", responses=3))
    loop, good, cut_off = (one.id for one in ranked.shown)
    assert annotator.judge(ranked, seed=0).answer == Answer("ranked", ranking=((good,), (cut_off,), (loop,)))
    rating = Campaign(kind="rating", aspects=("clear",))
    rated = [annotator.judge(assignment(0, each, campaign=rating), seed=0).answer.ratings for each in responses]
    scores = [score for each in rated for score in each["clear"].values()]
    # h is -2.7, 2.2 and 1.1 in a range from -4 to 2.5, divided into seven.
    assert scores == [2, 7, 6]


def filled_store(path: Path, pairs: int = 12, overlap: int = 2, campaign: Campaign = PLAIN) -> Store:
    """A store with as many open tasks."""
    store = Store(path)
    store.add_campaign(campaign)
    assignments = [assignment(number, GOOD, CUT_OFF) for number in range(pairs)]
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
    assert simulate(store, default_annotators(), seed=1, progress=calls.append) == 24
    assert calls == list(range(1, 25))
    counts = store.counts()
    assert counts.judgements == counts.simulated_judgements == 24
    assert all(annotator.simulated for annotator in store.annotators())
    per_annotator = [sum(j.annotator_id == a.id for j in store.judgements()) for a in store.annotators()]
    assert sum(per_annotator) == 24
    assert max(per_annotator) - min(per_annotator) <= 2
    assert simulate(store, default_annotators(), seed=1) == 0


def test_a_killed_run_goes_on_to_the_same_answers(tmp_path: Path) -> None:
    whole = filled_store(tmp_path / "whole.db")
    simulate(whole, default_annotators(), seed=1)

    def kill_at_seven(done: int) -> None:
        if done == 7:
            raise Killed

    store = filled_store(tmp_path / "killed.db")
    with pytest.raises(Killed):
        simulate(store, default_annotators(), seed=1, progress=kill_at_seven)
    store.close()
    store = Store(tmp_path / "killed.db")
    assert simulate(store, default_annotators(), seed=1) == 24 - 7
    assert content(store) == content(whole)


def test_another_seed_gives_other_answers(tmp_path: Path) -> None:
    stores = [filled_store(tmp_path / f"{seed}.db") for seed in (1, 2)]
    for seed, store in enumerate(stores, start=1):
        simulate(store, default_annotators(), seed=seed)
    assert content(stores[0]) != content(stores[1])
