"""By kind, for any content: an unrelated question, a comment, another column or another order never changes a vote."""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling_ui.campaign import Campaign
from tests.labeling_ui.exchange.importers.taking import drafted
from tests.labeling_ui.exchange.importers.test_meaning import annotation, record, task

WORDS = st.sampled_from(
    ["none", "both", "tie", "neither", "A", "1", "better than A", "no idea", "left", "", "same", "response1 is nicer"]
) | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
ASIDE = st.one_of(
    WORDS.filter(lambda text: text not in ("left",)), st.integers(0, 10), st.booleans(), st.none(),
    st.lists(st.sampled_from(["food", "nature"])),
    st.just([{"start": 0, "end": 2, "label": "x"}]),
)  # fmt: skip
PREFERRED = st.lists(st.sampled_from(["response1", "response2", "tie", "both bad"]), min_size=1, max_size=4).filter(
    lambda values: any(value.startswith("response") for value in values)
)


def votes_only(votes: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, vote.split(" (")[0]) for name, vote in votes]


@settings(max_examples=60, deadline=None)
@given(PREFERRED, st.lists(ASIDE, min_size=4, max_size=4), st.sampled_from(["comment", "flag", "topic"]), st.booleans())
def test_an_unrelated_question_or_a_comment_never_changes_a_vote(
    said: list[str], aside: list[Any], name: str, first: bool
) -> None:
    plain = [record(str(i), preference=value) for i, value in enumerate(said)]
    both = []
    for i, value in enumerate(said):
        answers = {name: aside[i], "preference": value} if first else {"preference": value, name: aside[i]}
        both.append(record(str(i), **answers))
    votes, refused = drafted("argilla", both)
    assert votes_only(votes) == drafted("argilla", plain)[0]
    assert not refused


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["left", "right"]), WORDS), min_size=1, max_size=4), st.booleans())
def test_words_beside_a_pairwise_question_never_change_a_vote(said: list[tuple[str, str]], first: bool) -> None:
    def of(with_words: bool) -> Iterator[Any]:
        for by, (side, words) in enumerate(said):
            results: list[Any] = [("pw", "pairwise", "a,b", side), ("note", "textarea", "p", [words])]
            kept = results if with_words else results[:1]
            yield annotation(by, *(kept[::-1] if first else kept))

    votes, refused = drafted("labelstudio", [task(*of(True))])
    assert votes_only(votes) == drafted("labelstudio", [task(*of(False))])[0]
    assert not refused


_EXTRA = st.dictionaries(
    st.sampled_from(["source", "instruction", "score_chosen", "messages", "system", "quality", "text", "winner"]),
    ASIDE, max_size=4,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(_EXTRA, st.booleans())
def test_another_column_never_changes_a_pair(extra: dict[str, Any], first: bool) -> None:
    pair = {"prompt": "q", "chosen": "yes", "rejected": "no"}
    row = {**extra, **pair} if first else {**pair, **extra}
    assert drafted("trl", [row]) == drafted("trl", [pair])
    table = {"prompt": "q", "response_1": "yes", "response_2": "no", "better": "2"}
    assert drafted("columns", [{**extra, **table}]) == drafted("columns", [table])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(2, 9), st.integers(2, 9))
def test_a_rating_is_taken_on_its_own_scale_or_not_at_all(score: int, scale: int, wanted: int) -> None:
    row = {"prompt": "q", "response": "A", "score": score, "scale": scale, "annotator": "p"}
    votes, refused = drafted("ratings", [row], Campaign(name="rated", kind="rating", scale=wanted))
    fits = scale == wanted and score <= scale
    assert (votes, len(refused)) == (([("p", f"helpful {score}")], 0) if fits else ([], 1))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_broken_row_costs_itself_alone(data: st.DataObject) -> None:
    good = [{"prompt": f"q{i}", "chosen": "yes", "rejected": "no"} for i in range(3)]
    junk = st.one_of(
        st.none(), st.integers(), st.text(max_size=5), st.lists(st.integers(), max_size=2),
        st.dictionaries(st.sampled_from(["prompt", "chosen", "margin"]), st.none() | st.integers(), max_size=3),
    )  # fmt: skip
    place, odd = data.draw(st.integers(0, 3)), data.draw(junk)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in [*good[:place], odd, *good[place:]]))
        votes, refused = drafted("trl", path)
    assert ([vote for _, vote in votes], len(refused)) == (["yes"] * 3, 1)


@pytest.mark.parametrize("format", ["trl", "columns"])
def test_a_layout_that_changes_in_the_middle_costs_the_rows_of_the_other(format: str) -> None:
    pair = {"prompt": "q", "chosen": "yes", "rejected": "no"}
    table = {"prompt": "q", "response_1": "yes", "response_2": "no", "first_is_better": 1}
    votes, refused = drafted(format, [pair, pair, table, table, pair, {"instruction": "q"}])
    assert [vote for _, vote in votes] == ["yes"] * (3 if format == "trl" else 2)
    assert [int(line.split(":")[0]) for line in refused] == ([3, 4, 6] if format == "trl" else [1, 2, 5, 6])
