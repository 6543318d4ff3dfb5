"""A hidden preference that is a plain function of the text: the truth of benchmarks that judge very many responses.

It takes microseconds and no model. The simulated annotators of a run follow guidelines that need one
(`pipeline/simulation/guidelines.py`). Neither says what people prefer.
"""

import math
from collections.abc import Sequence

from labeling_ui.data_model import Assignment, Messages
from pipeline.simulation.text_rules import is_finished, repeated_share, words_of

SHORTEST, LONGEST = 8, 45
"""The band of lengths, in words, that is liked as much as can be."""

_COMMON = frozenset(
    words_of(
        "what which when where with this that than then them they there does have should would could into your from "
        "about more some make give tell write explain name list help need want like just only very"
    )
)


def hidden_preference(prompt_text: str, response_text: str) -> float:
    """How much a response is liked: from -4 (worst) to 2.5 (best).

    The sum of
    - finished: 1 if the text ends as a sentence, a quotation, a bracket or a code fence does; less below five words;
    - length: 1 for 8 to 45 words, falling linearly to 0 for none and exponentially (e-fold: 60 words) beyond;
    - on topic: 0.5 if two of the prompt's words (or its only one) come back, 0.25 for one of several;
    - repetition: -3 times the share of word pairs that came before;
    - hardly an answer: -1, and nothing for being finished, for less than two words or none but the prompt's own.
    """
    words, asked = words_of(response_text), words_of(prompt_text)
    score = length_liking(len(words)) + 0.5 * on_topic(asked, words) - 3.0 * repeated_share(words)
    if len(words) < 2 or set(words) <= set(asked):
        return score - 1.0
    return score + (min(1.0, len(words) / 5) if is_finished(response_text) else 0.0)


def liked(assignment: Assignment) -> list[float]:
    """The hidden preference of the responses to a task, as simulated annotators take it."""
    text = prompt_text(assignment.prompt.messages)
    return [hidden_preference(text, one.response) for one in assignment.shown]


def length_liking(words: int) -> float:
    """1 within the band, 0 for no words, and towards 0 the longer it gets."""
    if words > LONGEST:
        return math.exp((LONGEST - words) / 60)
    return min(1.0, words / SHORTEST)


def on_topic(prompt_words: Sequence[str], response_words: Sequence[str]) -> float:
    """0 to 1: two of the prompt's telling words (or all, if there are fewer) come back, whatever their endings."""
    telling = _telling(prompt_words)
    if not telling:
        return 1.0
    return min(1.0, len(telling & _telling(response_words)) / min(2, len(telling)))


def prompt_text(messages: Messages) -> str:
    """The conversation as the plain text that `hidden_preference` is given."""
    return "\n".join(message["content"] for message in messages)


def _telling(words: Sequence[str]) -> set[str]:
    """First four letters of the words that carry a topic, so that "travelling" answers to "travel"."""
    return {word[:4] for word in words if len(word) >= 4 and word not in _COMMON}
