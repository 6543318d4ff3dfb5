"""Formatting bias: what counts as Markdown, who wins, and when it cannot be told."""

import numpy as np
import pytest

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Annotator, Answer, Judgement, Task, View
from labeling_ui.markdown.constructs import constructs
from labeling_ui.markdown.render import LONGEST
from labeling_ui.quality.formatting import formatting_bias, in_words
from labeling_ui.quality.label_reader import Labels

RICH, PLAIN = "**Yes**\n\n- one\n- two", "Yes, one and two."


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Plain, with 3 - 1 = 2 and a_b.", 0), ("# A\n\n1. b\n2. *c*\n\n> d\n\n`e` **f** [g](h) ~~i~~", 9),
        ("|a|b|\n|-|-|\n|c|d|", 1), ("```\n# no heading\n```", 1), ("It takes $t^2$.", 1), ("    code", 1),
        ("a\n===", 1), ("", 0), ("\\*no\\*", 0), ("x" * (LONGEST + 1), None),
    ],
)  # fmt: skip
def test_constructs_are_counted_as_they_are_rendered(text: str, number: int | None) -> None:
    assert constructs(text) == number


def labels(wins: dict[View, list[bool]], texts: tuple[str, str] = (RICH, PLAIN)) -> tuple[Labels, dict[str, str]]:
    """In each view, whether the response with Markdown won; each choice is about a prompt of its own."""
    tasks, judgements, responses = {}, [], {}
    for view, won in wins.items():
        for number, rich_wins in enumerate(won):
            rich, plain = f"{view}{number}r", f"{view}{number}p"
            task = Task(f"{view}{number}", (rich, plain))
            responses |= dict(zip((rich, plain), texts, strict=True))
            answer = Answer("preferred", rich if rich_wins else plain)
            tasks[task.id] = task
            judgements.append(Judgement(task.id, "ann", task.candidates, answer, key=task.id, view=view))
    return Labels({"main": Campaign()}, tasks, [Annotator("ann", "ann")], judgements), responses


def test_a_difference_that_is_sure_is_told() -> None:
    found = formatting_bias(
        *labels({"rendered": [True] * 45 + [False] * 5, "both": [True, False] * 15, "raw": [False]})
    )
    assert (found.rendered.n, found.raw.n) == (50, 31)
    assert found.rendered.value == 0.9
    assert found.difference == pytest.approx(0.9 - 15 / 31)
    assert found.low is not None
    assert found.high is not None
    # Clopper and Pearson: 45 of 50 is 0.7819 to 0.9667, 15 of 31 is 0.3015 to 0.6694.
    assert found.low == pytest.approx(found.difference - np.hypot(0.9 - 0.7819, 0.6694 - 15 / 31), abs=2e-3)
    assert found.reading == "more"
    other = formatting_bias(*labels({"rendered": [False] * 45 + [True] * 5, "both": [True, False] * 15}))
    assert other.reading == "less"


def test_few_choices_tell_nothing() -> None:
    assert formatting_bias(*labels({})).reading == "few"
    assert formatting_bias(*labels({"rendered": [True] * 500})).reading == "few"
    assert formatting_bias(*labels({"rendered": [True] * 500, "both": [False] * 9})).reading == "few"
    assert formatting_bias(*labels({"rendered": [True] * 12, "both": [True] * 12})).reading == "few"


def test_no_difference_is_told_only_where_there_is_much_to_see() -> None:
    even = [True, False] * 1000
    found = formatting_bias(*labels({"rendered": even, "both": even}))
    assert (found.difference, found.reading) == (0, "none")


def test_choices_of_one_prompt_are_not_independent() -> None:
    given, responses = labels({"rendered": [True] * 40, "both": [False] * 40})
    assert formatting_bias(given, responses).reading == "more"
    same = {task_id: Task("one prompt", task.candidates, id=task_id) for task_id, task in given.tasks.items()}
    assert (
        formatting_bias(Labels(given.campaigns, same, given.annotators, given.judgements), responses).reading == "few"
    )


def test_responses_with_as_much_markdown_are_no_choice_about_it() -> None:
    found = formatting_bias(*labels({"rendered": [True] * 20, "both": [True] * 20}, (RICH, RICH.replace("one", "a"))))
    assert (found.rendered.n, found.raw.n, found.difference) == (0, 0, None)


def test_it_is_put_in_words() -> None:
    found = formatting_bias(*labels({"rendered": [True] * 45 + [False] * 5, "both": [True, False] * 15}))
    assert in_words(found) == (
        "The response with more Markdown won 90% (78 to 97) of 50 choices seen rendered alone and 50% (31 to 69) of 30 "
        "choices also seen as it was written (95% intervals). Markdown wins more often where it is rendered."
    )
    assert in_words(formatting_bias(*labels({}))) == ""


def test_the_interval_of_the_difference_holds() -> None:
    draw, held = np.random.default_rng(0), 0
    for _ in range(100):
        wins = {"rendered": list(draw.random(60) < 0.7), "both": list(draw.random(25) < 0.5)}
        found = formatting_bias(*labels(wins))  # type: ignore[arg-type]
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.2 <= found.high
    assert held >= 92
