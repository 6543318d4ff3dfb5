"""What is read off a text alone."""

import pytest

from pipeline.simulation.text_rules import (
    has_form_asked,
    is_finished,
    items,
    new_content,
    refuses,
    repeated_content,
    repeated_share,
    sentences,
    words_of,
)


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


def test_content_is_told_from_the_words_of_every_request() -> None:
    assert repeated_content(words_of("The cat saw the cat and the dog.")) == pytest.approx(1 / 4)
    assert new_content(words_of("What is an owl?"), words_of("An owl is an owl, and the owl is an owl.")) == 0
    assert new_content(words_of("What is an owl?"), words_of("An owl is a bird that hunts at night.")) == 3


@pytest.mark.parametrize(
    ("prompt", "response", "right"),
    [
        ("What is tea? Answer in one sentence.", "Tea is a drink.", True),
        ("What is tea? Answer in one sentence.", "Tea is a drink, e.g. with milk.", True),
        ("What is tea? Answer in one sentence.", "It costs 2.50 a cup.", True),
        ("What is tea? Answer in one sentence.", "Tea is a drink. It is hot.", False),
        ("What is tea? Answer in one sentence.", 'He said "Tea!" "Drink it."', False),
        ("What is tea? Answer in one sentence.", "Tea\nis a drink.", False),
        ("Write a two-sentence story.", "It rained. Nobody minded.", True),
        ("Write a one-sentence story.", "It rained. Nobody minded.", False),
        ("Name three fruits.", "1. Apple\n2. Pear\n3. Plum", True),
        ("Name three fruits.", "Apples, pears, and plums.", True),
        ("List three fruits.", "Apples and pears.", False),
        ("Give me a list of three fruits.", "- Apple\n- Pear", False),
        ("What is tea?", "Tea is a drink.\n\nIt is hot.", True),
    ],
)
def test_a_response_has_the_form_that_was_asked_for(prompt: str, response: str, right: bool) -> None:
    assert has_form_asked(prompt, response) is right


def test_sentences_and_items_are_counted() -> None:
    assert [sentences(text) for text in ("", "One.", "One. Two! Three?", "3.5 is a number.")] == [1, 1, 3, 1]
    assert [items(text) for text in ("red", "red, blue and green", "red\nblue", "Here:\n* red\n* blue")] == [1, 3, 2, 2]


@pytest.mark.parametrize(
    "text",
    [
        "No, it's not possible to jump-start a car.",
        "I’m sorry, but I cannot help with that.",
        "As an AI language model, I have no taste.",
        "I can't answer this question.",
        "Hello, I am just a computer program.",
    ],
)
def test_refusals_denials_and_talk_of_itself_are_found(text: str) -> None:
    assert refuses(text)


@pytest.mark.parametrize("text", ["A hill is not a mountain.", "Say sorry to a friend.", "It is possible to swim."])
def test_ordinary_sentences_are_no_refusals(text: str) -> None:
    assert not refuses(text)
