"""What simulated annotators prefer: guidelines that a person could follow as well, and the score that stands for them.

A tuned policy can be held to it. The score is programmed and says nothing about what people prefer.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from labeling_ui.data_model import Assignment, Candidate, Message, Messages
from pipeline.simulation.likelihood import Likelihood, likelihoods, mean_logprobs
from pipeline.simulation.text_rules import (
    has_form_asked,
    is_finished,
    new_content,
    refuses,
    repeated_content,
    repeated_share,
    words_of,
)

if TYPE_CHECKING:
    from backbone.adapters import SharedBase

GUIDELINES = """\
Choose the response that you would rather have been given. What counts, the weightiest first:
- Sense: plain wording that says what most people would say here. Odd turns, invented words, names out of nowhere, \
contradictions and falsehoods count against it.
- On topic: it answers this very question; it would not do for any other.
- As asked: one sentence where one is asked for, three things where three are.
- Finished: it ends by itself, at the end of a sentence.
- No repetition, neither of itself nor of the question; no refusal, and no talk about the assistant.
- Not longer than it needs to be.
If neither is better, choose "both bad" where neither is of any use, and a tie where you would be as glad of either.
"""
"""The campaign's instructions in `configs/demo.yaml`; `liking` is the same as a score."""

WORST, BEST = -4.0, 2.5
"""The range of the score."""
BOTH_BAD = 0.0
"""A response below this score is of no use."""

PLAIN_ANSWERS = (
    ("What is a spoon? Answer in one sentence.", "A spoon is a small tool that people use to eat soup."),
    ("Why do people wear coats? Answer in one sentence.", "People wear coats to keep warm when it is cold outside."),
    ("What does a cook do? Answer in one sentence.", "A cook is a person who prepares food for other people."),
)
"""Answers of a person. Sense is measured against how likely the base finds these, so that any base can measure it."""
_NONSENSE, _SENSIBLE = -1.1, 0.9  # nats a token below and above the plain answers
_GENERAL, _PARTICULAR = 10.0, 20.0  # nats that the prompt tells of the response
_LONG = 40  # words


def liking(prompt: str, response: str, likelihood: Likelihood, plain: float) -> float:
    """How much a response is liked: from -4 (worst) to 2.5; below 0 it is of no use.

    `plain` is the mean log-probability of `PLAIN_ANSWERS` under the same base. The sum of
    - sense: 0 to 3, linear in the log-probability a token given the prompt, from 1.1 nats below `plain` to 0.9 above;
    - on topic: 0 to 0.9, linear in the mutual information with the prompt, from 10 to 20 nats, which is enough;
    - as asked: 0.5 for as many sentences or items as are asked for;
    - finished: 0.5 if the text ends as a sentence does;
    - repetition: -3 times the share of word pairs that came before, and -1 times that of telling words;
    - refusal, denial or talk of itself: -2;
    - length: -0.5 for each 40 words beyond 40, at most twice;
    less 2.4, so that 0 parts what is of use. Fewer than two telling words that the prompt lacks are no answer: -2 more,
    and nothing for sense.
    """
    words = words_of(response)
    score = 0.9 * _share(likelihood.information, _GENERAL, _PARTICULAR) - 2.4
    score += 0.5 * has_form_asked(prompt, response) + 0.5 * is_finished(response)
    score -= 3.0 * repeated_share(words) + repeated_content(words) + 2.0 * refuses(response)
    score -= 0.5 * min(2.0, max(0.0, len(words) / _LONG - 1))
    if new_content(words_of(prompt), words) < 2:
        score -= 2.0
    else:
        score += 3.0 * _share(likelihood.given - plain, _NONSENSE, _SENSIBLE)
    return min(BEST, max(WORST, score))


class SimulatedPreference:
    """The guidelines' score by a base model, which `load` gives when it is first needed, and never with an adapter."""

    def __init__(self, load: "Callable[[], SharedBase]") -> None:
        self._load = load

    @cached_property
    def _base(self) -> "SharedBase":
        return self._load()

    @cached_property
    def _plain(self) -> float:
        asked = [(Message(role="user", content=prompt),) for prompt, _ in PLAIN_ANSWERS]
        found = mean_logprobs(self._base, asked, [answer for _, answer in PLAIN_ANSWERS])
        return sum(found) / len(found)

    def of(self, prompts: Sequence[Messages], responses: Sequence[str]) -> list[float]:
        """The score of each response to the prompt at its place."""
        found = likelihoods(self._base, prompts, responses)
        return [
            liking(messages[-1]["content"], response, each, self._plain)
            for messages, response, each in zip(prompts, responses, found, strict=True)
        ]


class CandidateScores:
    """The preference as annotators take it: the responses to a prompt are scored together, once.

    They are scored in the order of their ids: scores depend on their batch in the last digits, and a run that was
    killed must give the same answers.
    """

    def __init__(self, preference: SimulatedPreference, candidates: Sequence[Candidate]) -> None:
        self._preference = preference
        self._of_prompt: dict[str, list[Candidate]] = {}
        for one in sorted(candidates, key=lambda one: one.id):
            self._of_prompt.setdefault(one.prompt_id, []).append(one)
        self._scores: dict[str, float] = {}

    def __call__(self, assignment: Assignment) -> list[float]:
        """The scores of the responses shown, in their order."""
        if assignment.shown[0].id not in self._scores:
            together = self._of_prompt[assignment.prompt.id]
            scores = self._preference.of(
                [assignment.prompt.messages] * len(together), [one.response for one in together]
            )
            self._scores |= {one.id: score for one, score in zip(together, scores, strict=True)}
        return [self._scores[one.id] for one in assignment.shown]


def _share(value: float, low: float, high: float) -> float:
    """Where the value lies between `low` (0) and `high` (1)."""
    return min(1.0, max(0.0, (value - low) / (high - low)))
