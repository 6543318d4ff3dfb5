"""The guidelines' score: what it adds up, what it prefers, and that the base alone measures it."""

from pathlib import Path

import pytest
import torch

from backbone.adapters import SharedBase
from backbone.exactness import load_shared_base
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Assignment, Candidate, Message, Prompt, Task
from pipeline.config.config import load_config
from pipeline.simulation.guidelines import (
    BEST,
    BOTH_BAD,
    GUIDELINES,
    WORST,
    CandidateScores,
    SimulatedPreference,
    liking,
)
from pipeline.simulation.likelihood import Likelihood, likelihoods, mean_logprobs
from tests.shared_base import add_random_adapter

ASK = "What is a pond? Answer in one sentence."
GOOD = "A pond is a small body of still water, often with plants and fish."
LIKELY = Likelihood(given=-1.0, alone=-2.0, tokens=15)
PLAIN = -1.4


def score(response: str, likelihood: Likelihood = LIKELY, prompt: str = ASK) -> float:
    return liking(prompt, response, likelihood, PLAIN)


def asked(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


@pytest.fixture(scope="module")
def base(tiny_model: Path) -> SharedBase:
    return load_shared_base(str(tiny_model), "float32", "cpu")


def test_the_score_is_the_sum_that_it_documents() -> None:
    # Sense: 0.4 above plain is 1.5 of the 2 nats, 3 * 0.75. Topic: 15 nats are halfway from 10 to 20, 0.45.
    # One sentence and finished: 0.5 each. No word pair and no telling word comes twice.
    assert score(GOOD) == pytest.approx(2.25 + 0.45 + 1.0 - 2.4)
    # "pond" comes twice among the telling words pond, calm, every, pond and sleeps; no pair of words does.
    assert score("A pond is calm; every pond sleeps.") == pytest.approx(score(GOOD) - 1 / 5)


@pytest.mark.parametrize(
    ("worse", "prompt"),
    [
        pytest.param("A pond is a small body of still water, often with plants and", ASK, id="cut off"),
        pytest.param("A pond is a small body of water. It is still, with plants and fish.", ASK, id="two sentences"),
        pytest.param("No, it's not possible to say what small bodies of still water are.", ASK, id="a denial"),
        pytest.param("As an AI assistant, I see still water with plants and fish.", ASK, id="talk of itself"),
        pytest.param("A pond is a pond is a pond is a small water.", ASK, id="a loop"),
        pytest.param("A pond is what a pond is.", ASK, id="the question repeated"),
        pytest.param("Water.", ASK, id="a single word"),
        pytest.param("", ASK, id="nothing"),
        pytest.param(GOOD, ASK.replace("one sentence", "two sentences"), id="too few sentences"),
    ],
)
def test_what_the_guidelines_hold_against_a_response_costs_it(worse: str, prompt: str) -> None:
    assert score(worse, prompt=prompt) < score(GOOD) - 0.2


def test_sense_and_topic_count_and_useless_responses_are_below_the_line() -> None:
    unlikely = Likelihood(given=-2.4, alone=-3.4, tokens=21)
    general = Likelihood(given=-1.0, alone=-1.1, tokens=21)
    assert score(GOOD, unlikely) < score(GOOD) - 1
    assert score(GOOD, general) < score(GOOD) - 0.4
    for useless in ("", "Pond.", "No, it's not possible to have a pond.", "A pond is a pond. A pond is a pond."):
        assert score(useless) < BOTH_BAD < score(GOOD)


def test_needless_length_costs_little_and_never_more_than_one() -> None:
    words = [f"word{number}" for number in range(400)]
    short, long, endless = (" ".join(words[:count]) + "." for count in (30, 80, 400))
    assert score(short) - score(long) == pytest.approx(0.5)
    assert score(short) - score(endless) == pytest.approx(1.0)


@pytest.mark.parametrize("text", ["", ".", "no " * 3000, "\n\n", GOOD, GOOD * 50])
@pytest.mark.parametrize("given", [-50.0, 0.0])
def test_the_score_is_bounded(text: str, given: float) -> None:
    assert WORST <= score(text, Likelihood(given, -1.0, 20)) <= BEST


def test_mean_logprobs_are_those_of_the_models_own_forward_pass(base: SharedBase) -> None:
    prompt, response = asked("the cat"), "sat on the mat"
    ids, answer = base.renderer.prompt_ids(prompt), base.renderer.response_ids(response)
    with torch.no_grad():
        logits = base.base(torch.tensor([[*ids, *answer]])).logits[0]
    steps = torch.log_softmax(logits, -1)[len(ids) - 1 : -1]
    expected = float(steps[range(len(answer)), answer].mean())
    # Beside a longer response, and one that is too long for the context and is cut.
    found = mean_logprobs(base, [prompt] * 3, [response, "the dog ran to the cat and the mat", "the cat " * 400])
    assert found[0] == pytest.approx(expected, abs=1e-4)


def test_information_is_what_the_prompt_adds(base: SharedBase) -> None:
    found = likelihoods(base, [asked("the cat"), asked("Say something.")], ["sat on the mat"] * 2)
    assert found[1].information == pytest.approx(0.0, abs=1e-4)
    tokens = len(base.renderer.response_ids("sat on the mat"))
    assert found[0].information == pytest.approx(tokens * (found[0].given - found[1].given), abs=1e-4)


def test_an_adapter_does_not_change_what_is_liked(tiny_model: Path) -> None:
    base = load_shared_base(str(tiny_model), "float32", "cpu")
    preference = SimulatedPreference(lambda: base)
    before = preference.of([asked("the cat")], ["sat on the mat."])
    add_random_adapter(base, "policy")
    with base.using("policy"):
        assert preference.of([asked("the cat")], ["sat on the mat."]) == pytest.approx(before, abs=1e-5)


def test_scores_do_not_depend_on_what_was_asked_before_and_need_no_base_until_then(base: SharedBase) -> None:
    prompts = [Prompt(asked(f"the cat {number}")) for number in range(3)]
    texts = ("sat.", "sat on the mat and the dog ran.", "ran to the mat", "the the the")
    candidates = [Candidate(prompt.id, text) for prompt in prompts for text in texts]
    loads: list[int] = []

    def load() -> SharedBase:
        loads.append(1)
        return base

    def task(prompt: int, first: int, second: int) -> Assignment:
        shown = (candidates[4 * prompt + first], candidates[4 * prompt + second])
        chosen = Task(prompts[prompt].id, tuple(one.id for one in shown))
        return Assignment(chosen, "someone", Campaign(), prompts[prompt], shown)

    early = CandidateScores(SimulatedPreference(load), candidates)
    late = CandidateScores(SimulatedPreference(load), candidates[::-1])
    assert loads == []
    first = [early(task(*each)) for each in ((0, 0, 1), (1, 2, 3), (0, 2, 0))]
    assert [late(task(*each)) for each in ((1, 2, 3), (0, 2, 0), (0, 0, 1))] == [first[1], first[2], first[0]]
    assert first[0][0] == first[2][1]
    assert len(loads) == 2


def test_annotators_of_the_demo_are_shown_the_guidelines() -> None:
    assert load_config(Path("configs/demo.yaml"), [], {}).label.instructions == GUIDELINES
