"""Splits by conversation."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import UserError
from foundation.files import write_json
from reward_model.config import RewardConfig
from reward_model.labels.reading import to_labels
from reward_model.labels.records import conversation_key, prompt_key
from reward_model.labels.selection import select
from reward_model.labels.splits import (
    HeldOut,
    check_disjoint,
    crowded,
    held_out_conversations,
    say_trained_on,
    split_by_conversation,
    split_by_prompt,
    trained_on,
)
from tests.reward_model.planted import planted


@given(
    prompts=st.lists(st.integers(0, 30), min_size=1, max_size=60),
    held_out=st.floats(0.05, 0.95),
    seed=st.integers(0, 5),
    order=st.randoms(),
)
def test_a_prompt_is_on_one_side_and_nothing_is_lost(prompts, held_out, seed, order):
    rows = [{"prompt": f"p{p}", "chosen": f"a{i}", "rejected": f"b{i}"} for i, p in enumerate(prompts)]
    if len(set(prompts)) < 2:
        with pytest.raises(UserError, match=f"only {len(set(prompts))} different conversations"):
            split_by_conversation(rows, held_out, seed)
        return
    train, test = split_by_conversation(rows, held_out, seed)
    check_disjoint(train, test)
    assert sorted(r["chosen"] for r in [*train, *test]) == sorted(r["chosen"] for r in rows)
    assert train
    assert test
    order.shuffle(rows)
    assert {r["chosen"] for r in split_by_conversation(rows, held_out, seed)[1]} == {r["chosen"] for r in test}


def test_more_labels_never_move_a_prompt_to_the_other_side():
    keys = [f"prompt {number}" for number in range(200)]
    before, after = (held_out_conversations(known, 0.25, 0) for known in (keys[:120], keys))
    assert before == after & set(keys[:120])
    assert 0.15 < len(after) / len(keys) < 0.35


def test_another_seed_holds_out_other_prompts():
    rows = planted(40)
    assert split_by_conversation(rows, 0.25, 0)[1] != split_by_conversation(rows, 0.25, 1)[1]


def test_a_prompt_in_both_splits_is_refused():
    rows = planted(3)
    with pytest.raises(UserError, match="1 held-out prompts are also in the training split"):
        check_disjoint(rows, [{**rows[1], "chosen": "another", "rejected": "response"}])


# --- conversations ---


def talk(*turns: str) -> list[dict[str, str]]:
    """Messages of user and assistant in turn."""
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(turns)]


def judged(*prompts: list[dict[str, str]]) -> list[dict[str, Any]]:
    return [{"prompt": prompt, "chosen": f"a{place}", "rejected": f"b{place}"} for place, prompt in enumerate(prompts)]


ROSES = "How do I prune roses?"
SYSTEM = {"role": "system", "content": "You are a helpful gardener."}


@pytest.mark.parametrize(
    ("prompt", "begins"),
    [
        (talk("Hi"), talk("Hi")),
        (talk(ROSES), talk(ROSES)),
        (talk(ROSES, "In March.", "And how deep?"), talk(ROSES)),
        ([SYSTEM, *talk(ROSES, "In March.", "And?")], talk(ROSES)),
        (talk("Hello", "Hi!", ROSES, "In March.", "Why?"), talk("Hello", "Hi!", ROSES)),
        (talk("Hello", "Hi!", "Roses"), talk("Hello", "Hi!", "Roses")),
        (talk("怎样修剪园里的玫瑰", "三月。", "为什么？"), talk("怎样修剪园里的玫瑰")),
        (talk("你好", "好！", "怎样修剪园里的玫瑰", "三月。", "为什么？"), talk("你好", "好！", "怎样修剪园里的玫瑰")),
    ],
)  # fmt: skip
def test_a_conversation_begins_with_the_first_message_that_says_something(
    prompt: list[dict[str, str]], begins: list[dict[str, str]]
) -> None:
    assert conversation_key(prompt) == prompt_key(begins)


@given(turns=st.lists(st.integers(1, 4), min_size=2, max_size=30), seed=st.integers(0, 5))
def test_prompts_of_one_conversation_are_on_one_side(turns: list[int], seed: int) -> None:
    whole = [
        [f"question number {n}, the first", "yes", "and then?", "no", "why?", "so", "ok"] for n in range(len(turns))
    ]
    rows = judged(*(talk(*whole[n][: 2 * turn - 1]) for n, most in enumerate(turns) for turn in range(1, most + 1)))
    train, test = split_by_conversation(rows, 0.3, seed)
    assert not {row["prompt"][0]["content"] for row in train} & {row["prompt"][0]["content"] for row in test}
    check_disjoint(train, test)


def test_a_held_out_prompt_that_goes_on_with_a_training_prompt_is_refused() -> None:
    first = talk("How do I prune roses?")
    later = talk("How do I prune roses?", "In March.", "And how deep?")
    with pytest.raises(UserError, match="begin like prompts there, among them 'And how deep"):
        check_disjoint(judged(first), judged(later))
    assert select(RewardConfig(patience=None), judged(first, talk("Which tea is green?")), 0).test


def test_labels_of_a_conversation_that_is_held_out_are_not_learned_from() -> None:
    first, later, tea = talk(ROSES), talk(ROSES, "In March.", "Why?"), talk("Which tea is green?")
    assert later in HeldOut.of([tea], [first])
    assert first in HeldOut.of([tea], [later])
    assert tea not in HeldOut.of([tea], [later])
    assert first not in HeldOut.of([tea, first], [later])  # said to be trained on
    assert later in HeldOut.of([tea, first], [later])


def test_the_epoch_is_chosen_by_other_conversations_than_those_learned_from() -> None:
    prompts = [talk(f"question number {n}, the first", *more) for n in range(12) for more in ([], ["yes", "why?"])]
    for seed in range(5):
        found = select(RewardConfig(patience=1, validation=0.3), judged(*prompts), seed)
        assert not {x.conversation_key for x in found.train} & {x.conversation_key for x in found.validation}


def test_labels_of_one_conversation_alone_are_refused_with_what_would_help() -> None:
    rows = judged(*(talk("Answer as in the examples.", "Yes.", f"Question {number}?") for number in range(30)))
    with pytest.raises(UserError, match=r"only 1 different conversations .* write it as a system message, or into one"):
        split_by_conversation(rows, 0.2, 0)


def test_a_conversation_of_more_than_a_tenth_of_the_prompts_is_told() -> None:
    others = [talk(f"question number {number}, the first") for number in range(80)]
    many = [talk("Answer as in the examples.", "Yes.", f"Question {number}?") for number in range(20)]
    assert str(crowded([*others, *many])).startswith("20 of 100 prompts begin with the same message ('Answer as in")
    assert crowded([*others, *many[:8]]) is None
    assert crowded([]) is None


def test_a_reward_folder_says_which_conversations_it_learned_from_and_older_ones_are_read(tmp_path: Path) -> None:
    later, other = talk("How do I prune roses?", "In March.", "Why?"), talk("Which tea is green?")
    write_json(tmp_path / "trained_on.json", [prompt_key(other)])  # as earlier versions wrote it
    assert split_by_prompt(tmp_path)
    (tmp_path / "next").mkdir()
    say_trained_on(tmp_path / "next", to_labels(judged(later)), tmp_path)
    assert trained_on(tmp_path / "next") == {prompt_key(later[:1]), prompt_key(other)}
    assert not split_by_prompt(tmp_path / "next")
    assert split_by_prompt(tmp_path / "nowhere")
