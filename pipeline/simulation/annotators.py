"""Simulated annotators with a known hidden preference, to try the loop where no people are at hand.

They answer through the same store calls as a person's app does, and are marked as simulated from the
moment they are made. What they prefer is a plain function of the text, so that a tuned policy can be
held to it; it says nothing about what people prefer, and no figure drawn from it is a human one.
"""

import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from foundation.files import content_id
from labeling_ui.campaigns.assignment import judgement_of
from labeling_ui.records import STRENGTHS, Answer, Assignment, Judgement, Messages
from labeling_ui.store.store import Store

SHORTEST, LONGEST = 8, 45
"""The band of lengths, in words, that is liked as much as can be."""
WORST, BEST = -4.0, 2.5
"""The range of the hidden preference."""
BOTH_BAD = 0.0
"""Two responses below this hidden preference are both bad."""
TIE = 0.3
"""A noisy difference within this many logits is a tie."""
STRONGER = (1.5, 3.5)
"""Noisy differences, in logits, from which a preference has strength 2 and 3."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_CLOSED = re.compile(r"\S[\"')\]}”’»]$")
_TRAILING_ORNAMENT = re.compile(r"[^\w.!?…。！？,;:\-–—]+$")
_LIST_MARKER = re.compile(r"\n\W*\d+[.)]$")
_COMMON = frozenset(
    _WORD.findall(
        "what which when where with this that than then them they there does have should would could into your from "
        "about more some make give tell write explain name list help need want like just only very"
    )
)


def hidden_preference(prompt_text: str, response_text: str) -> float:
    """How much the simulated annotators like a response: from -4 (worst) to 2.5 (best).

    The sum of
    - finished: 1 if the text ends as a sentence, a quotation, a bracket or a code fence does; less below five words;
    - length: 1 for 8 to 45 words, falling linearly to 0 for none and exponentially (e-fold: 60 words) beyond;
    - on topic: 0.5 if two of the prompt's words (or its only one) come back, 0.25 for one of several;
    - repetition: -3 times the share of word pairs that came before;
    - hardly an answer: -1, and nothing for being finished, for less than two words or none but the prompt's own.
    """
    words, asked = _words(response_text), _words(prompt_text)
    score = length_liking(len(words)) + 0.5 * on_topic(asked, words) - 3.0 * repeated_share(words)
    if len(words) < 2 or set(words) <= set(asked):
        return score - 1.0
    return score + (min(1.0, len(words) / 5) if is_finished(response_text) else 0.0)


def is_finished(text: str) -> bool:
    """Whether the text ends where a writer would stop, not in mid-sentence, in a list's number or in open code."""
    text = text.rstrip()
    if text.count("```") % 2 or _LIST_MARKER.search(_TRAILING_ORNAMENT.sub("", text)):
        return False
    if text.endswith("```") or _CLOSED.search(text):
        return True
    return _TRAILING_ORNAMENT.sub("", text).endswith((".", "!", "?", "…", "。", "！", "？"))


def length_liking(words: int) -> float:
    """1 within the band, 0 for no words, and towards 0 the longer it gets."""
    if words > LONGEST:
        return math.exp((LONGEST - words) / 60)
    return min(1.0, words / SHORTEST)


def repeated_share(words: Sequence[str]) -> float:
    """Share of pairs of neighbouring words that already came before: near 0 in ordinary prose, near 1 in a loop."""
    neighbours = list(pairwise(words))
    return 1 - len(set(neighbours)) / len(neighbours) if neighbours else 0.0


def on_topic(prompt_words: Sequence[str], response_words: Sequence[str]) -> float:
    """0 to 1: two of the prompt's telling words (or all, if there are fewer) come back, whatever their endings."""
    telling = _telling(prompt_words)
    if not telling:
        return 1.0
    return min(1.0, len(telling & _telling(response_words)) / min(2, len(telling)))


def prompt_text(messages: Messages) -> str:
    """The conversation as the plain text that `hidden_preference` is given."""
    return "\n".join(message["content"] for message in messages)


@dataclass(frozen=True)
class SimulatedAnnotator:
    """Answers by the hidden preference h, with noise: P(left) = sigmoid(skill * (h_left - h_right) + left_bias).

    `skill` is in logits for each unit of h (0 is a coin), `left_bias` in logits. A noisy difference
    near 0 is a tie, and the larger it is, the stronger the preference. Rankings follow skill * h with Gumbel noise
    (Plackett-Luce); ratings divide the range of h evenly, the same for every aspect.
    """

    name: str
    skill: float
    left_bias: float = 0.0

    def judge(self, assignment: Assignment, seed: int) -> Judgement:
        """The answer to one task: the same for the same seed, whatever was asked before."""
        kind = assignment.campaign.kind
        said = {"pairwise": self._compare, "ranking": self._rank, "rating": self._rate}[kind](assignment, seed)
        if assignment.campaign.rationale == "required":
            said = replace(said, rationale="simulated")
        key = content_id("simulated", seed, assignment.annotator_id, assignment.task.id)
        return judgement_of(assignment, said, key=key)

    def _compare(self, assignment: Assignment, seed: int) -> Answer:
        left, right = assignment.shown
        h_left, h_right = _preferences(assignment)
        # The noise belongs to the responses, not to the sides: without a bias, the order shown changes nothing.
        noise = _logistic(seed, self.name, assignment.task.id) * (1 if left.id == assignment.task.candidates[0] else -1)
        difference = self.skill * (h_left - h_right) + self.left_bias + noise
        if max(h_left, h_right) < BOTH_BAD:
            return Answer("both_bad")
        if abs(difference) < TIE:
            return Answer("tie")
        strength = STRENGTHS[sum(abs(difference) >= bound for bound in STRONGER)]
        return Answer("preferred", left.id if difference > 0 else right.id, strength)

    def _rank(self, assignment: Assignment, seed: int) -> Answer:
        seen = {
            one.id: self.skill * h + _gumbel(seed, self.name, assignment.task.id, one.id)
            for one, h in zip(assignment.shown, _preferences(assignment), strict=True)
        }
        return Answer("ranked", ranking=tuple((one,) for one in sorted(seen, key=lambda one: -seen[one])))

    def _rate(self, assignment: Assignment, seed: int) -> Answer:
        ratings = {}
        for one, h in zip(assignment.shown, _preferences(assignment), strict=True):
            noise = _logistic(seed, self.name, assignment.task.id, one.id) / self.skill if self.skill else 0.0
            share = (min(BEST, max(WORST, h + noise)) - WORST) / (BEST - WORST)
            ratings[one.id] = 1 + round(share * (assignment.campaign.scale - 1))
        return Answer("rated", ratings=dict.fromkeys(assignment.campaign.aspects, ratings))


def default_annotators() -> tuple[SimulatedAnnotator, ...]:
    """Four annotators from careful to careless; one of them leans to the left."""
    return (
        SimulatedAnnotator("simulated-careful", skill=6.0),
        SimulatedAnnotator("simulated-steady", skill=4.0),
        SimulatedAnnotator("simulated-left-leaning", skill=4.0, left_bias=1.0),
        SimulatedAnnotator("simulated-hasty", skill=1.5),
    )


def simulate(
    store: Store,
    annotators: Sequence[SimulatedAnnotator],
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> int:
    """Let the annotators answer until no task is left for them; returns how many answers were new.

    `progress` is called after each answer with the number of answers given so far in this call. Who has
    answered least goes next, so the labels are shared evenly and a run that was killed goes on where it was.
    """
    accounts = {annotator: store.annotator(annotator.name, simulated=True).id for annotator in annotators}
    answered = {annotator: store.progress(account).done for annotator, account in accounts.items()}
    new = 0
    while answered:
        annotator = min(answered, key=lambda each: answered[each])
        assignment = store.next_assignment(accounts[annotator])
        if assignment is None:
            del answered[annotator]
            continue
        new += store.record(annotator.judge(assignment, seed)) == "taken"
        answered[annotator] += 1
        if progress is not None:
            progress(new)
    return new


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _telling(words: Sequence[str]) -> set[str]:
    """First four letters of the words that carry a topic, so that "travelling" answers to "travel"."""
    return {word[:4] for word in words if len(word) >= 4 and word not in _COMMON}


def _preferences(assignment: Assignment) -> list[float]:
    text = prompt_text(assignment.prompt.messages)
    return [hidden_preference(text, one.response) for one in assignment.shown]


def _gumbel(*parts: object) -> float:
    """A draw from the standard Gumbel distribution that depends on nothing but `parts`."""
    return -math.log(-math.log(random.Random(content_id(*parts)).uniform(1e-9, 1 - 1e-9)))


def _logistic(*parts: object) -> float:
    """A draw from the standard logistic distribution that depends on nothing but `parts`."""
    uniform = random.Random(content_id(*parts)).uniform(1e-9, 1 - 1e-9)
    return math.log(uniform / (1 - uniform))
