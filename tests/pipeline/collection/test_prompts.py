"""The project's own prompt file: well formed, without repeats, and honest about what is held out."""

import re
from collections import Counter
from importlib import resources

import pytest

from foundation.files import read_jsonl
from labeling_ui.data_model import Message, Prompt

Row = tuple[str, str, tuple[Message, ...]]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """`(split, id, messages)` of every line."""
    file = resources.files("pipeline.collection") / "everyday.jsonl"
    with resources.as_file(file) as path:
        found = read_jsonl(path, {"id": str, "prompt": list, "split": str})
        return [(row["split"], row["id"], tuple(row["prompt"])) for _, row in found]


def words(messages: tuple[Message, ...]) -> tuple[str, ...]:
    """All turns' words, without case and punctuation."""
    return tuple(re.findall(r"\w+", " ".join(message["content"] for message in messages).lower()))


def of_split(rows: list[Row], wanted: str) -> list[tuple[Message, ...]]:
    """The conversations of one split."""
    return [messages for split, _, messages in rows if split == wanted]


def test_there_are_enough_prompts_to_train_on_and_to_hold_out(rows: list[Row]) -> None:
    assert {split for split, _, _ in rows} == {"train", "held_out"}
    assert len(of_split(rows, "train")) >= 260
    assert len(of_split(rows, "held_out")) >= 80


def test_each_conversation_alternates_and_ends_with_the_user(rows: list[Row]) -> None:
    for _, _, messages in rows:
        assert [m["role"] for m in messages] == ["user", "assistant"] * (len(messages) // 2) + ["user"]
        for message in messages:
            assert set(message) == {"role", "content"}
            assert message["content"] == message["content"].strip() != ""


def test_ids_are_made_from_the_content(rows: list[Row]) -> None:
    for _, identifier, messages in rows:
        assert identifier == Prompt(messages).id


def test_no_prompt_is_there_twice_whatever_its_case_and_punctuation(rows: list[Row]) -> None:
    seen = [words(messages) for _, _, messages in rows]
    assert len(set(seen)) == len(seen)


def test_no_held_out_prompt_resembles_a_training_prompt(rows: list[Row]) -> None:
    counts = Counter(word for _, _, messages in rows for word in set(words(messages)))
    of_the_form = {word for word, count in counts.items() if count > 0.025 * len(rows)}  # "Answer in one sentence."
    training = [set(words(messages)) - of_the_form for messages in of_split(rows, "train")]
    for messages in of_split(rows, "held_out"):
        held_out = set(words(messages)) - of_the_form
        assert held_out, messages[-1]["content"]
        nearest = max(len(held_out & other) / len(held_out | other) for other in training)
        assert nearest < 0.6, messages[-1]["content"]


def test_prompts_are_short_and_some_are_conversations_in_both_splits(rows: list[Row]) -> None:
    for split in ("train", "held_out"):
        prompts = of_split(rows, split)
        assert sum(len(words(messages)) < 30 for messages in prompts) > 0.8 * len(prompts)
        assert sum(len(messages) > 1 for messages in prompts) >= 3


def test_the_kinds_are_mixed_so_that_the_first_few_prompts_stand_for_all(rows: list[Row]) -> None:
    for split in ("train", "held_out"):
        conversations = [len(messages) > 1 for messages in of_split(rows, split)]
        half = len(conversations) // 2
        assert sum(conversations[:half]) >= 2
        assert sum(conversations[half:]) >= 2
