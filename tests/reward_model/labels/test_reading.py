"""Rows and files of preferences: every format, and what is refused."""

import json

import pytest

from foundation.errors import UserError
from reward_model.labels.reading import read_pairs, to_pair

USER = {"role": "user", "content": "hi"}


def answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


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
    pair = to_pair({"chosen": "天空是什么颜色？蓝色", "rejected": "天空是什么颜色？绿色"}, "row")
    assert (pair.prompt[0]["content"], pair.chosen, pair.rejected) == ("天空是什么颜色？", "蓝色", "绿色")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "hi", "chosen": "yes"}, '"rejected" must be'),
        ({"chosen": "yes", "rejected": "no"}, "share no beginning that could be the prompt"),
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


def test_a_row_that_was_read_says_the_same_again(tmp_path):
    """Votes for "both bad" are ties; they count once."""
    file = tmp_path / "pairs.jsonl"
    row = {"prompt": "hi", "chosen": "yes", "rejected": "no", "p_chosen": 0.7, "p_tie": 0.1, "p_both_bad": 0.3}
    file.write_text(json.dumps(row))
    assert to_pair(read_pairs(file)[0][0], "again") == to_pair(row, "once")


def test_a_file_without_pairs_is_refused(tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n")
    with pytest.raises(UserError, match="no pairs"):
        read_pairs(file)
