"""Preference rows: reading, splitting, rendering."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbone.loading import load_tokenizer
from backbone.tokens import Renderer
from foundation.errors import UserError
from reward_model.labels.data import (
    check_disjoint,
    held_out_prompts,
    read_pairs,
    split_by_prompt,
    to_dataset,
    to_pair,
)
from tests.reward_model.planted import planted

USER = {"role": "user", "content": "hi"}


def answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


@pytest.fixture(scope="module")
def renderer(tiny_model: Path) -> Renderer:
    return Renderer.of(load_tokenizer(str(tiny_model)), 256)


@given(
    prompts=st.lists(st.integers(0, 30), min_size=1, max_size=60),
    held_out=st.floats(0.05, 0.95),
    seed=st.integers(0, 5),
    order=st.randoms(),
)
def test_a_prompt_is_on_one_side_and_nothing_is_lost(prompts, held_out, seed, order):
    rows = [{"prompt": f"p{p}", "chosen": f"a{i}", "rejected": f"b{i}"} for i, p in enumerate(prompts)]
    if len(set(prompts)) < 2:
        with pytest.raises(UserError, match=f"only {len(set(prompts))} different prompts"):
            split_by_prompt(rows, held_out, seed)
        return
    train, test = split_by_prompt(rows, held_out, seed)
    check_disjoint(train, test)
    assert sorted(r["chosen"] for r in [*train, *test]) == sorted(r["chosen"] for r in rows)
    assert train
    assert test
    order.shuffle(rows)
    assert {r["chosen"] for r in split_by_prompt(rows, held_out, seed)[1]} == {r["chosen"] for r in test}


def test_more_labels_never_move_a_prompt_to_the_other_side():
    keys = [f"prompt {number}" for number in range(200)]
    before, after = (held_out_prompts(known, 0.25, 0) for known in (keys[:120], keys))
    assert before == after & set(keys[:120])
    assert 0.15 < len(after) / len(keys) < 0.35


def test_another_seed_holds_out_other_prompts():
    rows = planted(40)
    assert split_by_prompt(rows, 0.25, 0)[1] != split_by_prompt(rows, 0.25, 1)[1]


def test_a_prompt_in_both_splits_is_refused():
    rows = planted(3)
    with pytest.raises(UserError, match="1 prompts are in both"):
        check_disjoint(rows, [{**rows[1], "chosen": "another", "rejected": "response"}])


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "hi", "chosen": "yes", "rejected": "no"},
        {"prompt": [USER], "chosen": answer("yes"), "rejected": answer("no")},
        {"chosen": [USER, *answer("yes")], "rejected": [USER, *answer("no")]},
        {"chosen": "\n\nHuman: hi\n\nAssistant: yes", "rejected": "\n\nHuman: hi\n\nAssistant: no"},
    ],
)
def test_every_format_gives_the_same_pair(row):
    pair = to_pair(row, "row")
    assert (list(pair.prompt), pair.chosen, pair.rejected) == ([USER], "yes", "no")


def test_texts_without_a_prompt_share_their_opening():
    pair = to_pair({"chosen": "Name a pet. A cat.", "rejected": "Name a pet. A car."}, "row")
    assert (pair.prompt[0]["content"], pair.chosen, pair.rejected) == ("Name a pet. A ", "cat.", "car.")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "hi", "chosen": "yes"}, '"rejected" must be'),
        ({"prompt": "hi", "chosen": "yes", "rejected": answer("no")}, "both strings or both"),
        ({"prompt": "hi", "chosen": "yes", "rejected": " "}, '"rejected" response is empty'),
        ({"prompt": "hi", "chosen": "yes", "rejected": "yes"}, "the same text"),
        ({"prompt": "hi", "chosen": "yes", "rejected": "no", "margin": "big"}, '"margin" must be a number'),
        ({"prompt": answer("hi"), "chosen": "yes", "rejected": "no"}, "end with a user turn"),
        ({"prompt": [USER], "chosen": [USER], "rejected": answer("no")}, "one assistant turn"),
        ({"prompt": [{"role": "user"}], "chosen": "yes", "rejected": "no"}, '"role" and "content"'),
        ({"chosen": [USER, *answer("a")], "rejected": [*answer("x"), *answer("b")]}, "differ before"),
    ],
)
def test_a_bad_row_is_named_by_its_line(row, message, tmp_path):
    good = {"prompt": "hi", "chosen": "yes", "rejected": "no"}
    file = tmp_path / "pairs.jsonl"
    file.write_text(f"{json.dumps(good)}\n{json.dumps(row)}\n")
    with pytest.raises(UserError, match=rf"pairs.jsonl, line 2: .*{message}"):
        read_pairs(file)


def test_hh_lines_that_compare_nothing_are_left_out_and_named(tmp_path):
    def line(chosen: str, rejected: str) -> str:
        return json.dumps({"chosen": chosen, "rejected": rejected})

    start = "\n\nHuman: hi\n\nAssistant:"
    file = tmp_path / "hh.jsonl"
    file.write_text("\n".join([line(f"{start} yes", f"{start} no"), line(start, f"{start} no")]))
    rows, left_out = read_pairs(file)
    assert len(rows) == 1
    assert [(number, "empty" in reason) for number, reason in left_out] == [(2, True)]


def test_a_file_without_pairs_is_refused(tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n")
    with pytest.raises(UserError, match="no pairs"):
        read_pairs(file)


def test_a_row_becomes_prompt_and_completed_response(renderer):
    row = planted(1)[0]
    example = to_dataset([row], renderer, 256).dataset[0]
    prompt = renderer.prompt_ids(row["prompt"])
    assert example["chosen_ids"] == [*prompt, *renderer.response_ids(row["chosen"][0]["content"])]
    assert example["prompt_length"] == len(prompt)
    assert example["margin"] == row["margin"]


def test_long_pairs_lose_the_oldest_of_their_prompt_on_both_sides_alike(renderer):
    row = {"prompt": "old " * 400 + "new", "chosen": "yes indeed", "rejected": "no"}
    short = planted(1)[0]
    data = to_dataset([row, short], renderer, 64)
    assert data.cut == 1
    example = data.dataset[0]
    assert len(example["chosen_ids"]) == 64
    n = example["prompt_length"]
    assert example["chosen_ids"][:n] == example["rejected_ids"][:n]
    assert "new" in renderer.tokenizer.decode(example["chosen_ids"][:n])
    assert example["rejected_ids"][n:] == renderer.response_ids("no")


def test_margins_can_be_left_out(renderer):
    assert "margin" not in to_dataset(planted(2), renderer, 64, margin=False).dataset.column_names
