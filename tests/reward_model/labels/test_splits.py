"""Splits by prompt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import UserError
from reward_model.labels.splits import check_disjoint, held_out_prompts, split_by_prompt
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
