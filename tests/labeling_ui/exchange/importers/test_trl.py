"""TRL's formats: every form that its own helpers take comes in as they would make it, or is refused by name."""

from typing import Any

import pytest
from trl.data_utils import maybe_extract_prompt

from labeling_ui.campaign import Campaign
from labeling_ui.exchange.drafts import Draft
from labeling_ui.exchange.importers.layout import Wishes
from labeling_ui.exchange.imports import survey_file
from tests.labeling_ui.exchange.importers.taking import drafted, written

USER, OTHER = ({"role": "user", "content": text} for text in ("Why?", "And then?"))
RAIN, SUN = ({"role": "assistant", "content": text} for text in ("Rain.", "Sun."))
GOOD_OR_BAD = Campaign(name="good", kind="rating", scale=2)


def turns_of(rows: list[Any], **wishes: Any) -> list[list[tuple[str, str]]]:
    """The turns of each prompt that is taken."""
    with written(rows) as path:
        drafts = [each for each in survey_file("trl", path, Wishes(**wishes)).drafts() if isinstance(each, Draft)]
    return [[(turn["role"], turn["content"]) for turn in draft.prompt.messages] for draft in drafts]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [USER], "chosen": [RAIN], "rejected": [SUN]},
        {"chosen": [USER, RAIN], "rejected": [USER, SUN]},
        {"prompt": "Why?", "chosen": [USER, RAIN], "rejected": [USER, SUN]},
        {"prompt": "Why?", "chosen": "Rain.", "rejected": "Sun."},
        {"prompt": "x", "chosen": [USER, SUN, OTHER, RAIN], "rejected": [USER, SUN, OTHER, SUN]},
    ],
)
def test_a_pair_is_what_trl_makes_of_it(row: dict[str, Any]) -> None:
    made = maybe_extract_prompt(row)
    prompt = made["prompt"] if isinstance(made["prompt"], list) else [{"role": "user", "content": made["prompt"]}]
    assert turns_of([row]) == [[(turn["role"], turn["content"]) for turn in prompt]]
    assert drafted("trl", [row]) == ([("trl (imported)", "Rain.")], [])


def test_a_conversation_may_repeat_its_prompt_or_leave_it_out() -> None:
    rows = [
        {"prompt": [USER], "chosen": [USER, RAIN], "rejected": [USER, SUN]},
        {"prompt": "Why?", "chosen": [RAIN], "rejected": [SUN]},
    ]
    assert turns_of(rows) == [[("user", "Why?")]] * 2


def test_turns_have_other_names_elsewhere() -> None:
    rows = [
        {"prompt": [{"role": "developer", "content": "Be terse."}, USER], "chosen": "Rain.", "rejected": "Sun."},
        {"prompt": [{"role": "user", "content": [{"type": "text", "text": "Why"}, {"type": "text", "text": "?"}]}],
         "chosen": [RAIN], "rejected": [{"role": "assistant", "content": [{"type": "text", "text": "Sun."}]}]},
        {"chosen": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Rain."}],
         "rejected": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Sun."}]},
    ]  # fmt: skip
    assert turns_of(rows) == [[("system", "Be terse."), ("user", "Why?")], [("user", "Why?")], [("user", "Why?")]]
    assert [vote for _, vote in drafted("trl", rows)[0]] == ["Rain."] * 3


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": " \n", "chosen": "a", "rejected": "b"}, "the prompt is empty"),
        ({"prompt": [{"role": "user", "content": ""}], "chosen": "a", "rejected": "b"}, "user's turn"),
        ({"chosen": "The sky is blue.", "rejected": "The sky is red."}, "--map prompt=chosen"),
        ({"instruction": "q", "chosen": "The a", "rejected": "The b"}, "--map prompt=instruction"),
        ({"input": "", "system": "s", "question": "q", "chosen": "a", "rejected": "b"}, "--map prompt=question"),
        ({"my_text": "q", "chosen": "The a", "rejected": "The b"}, "--map prompt=my_text"),
        ({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"}, "--format hh"),
        ({"prompt": "\n\nHuman: q\n\nAssistant:", "chosen": " a", "rejected": " b"}, "--format hh"),
        ({"tools": [{"name": "now"}], "prompt": "q", "chosen": "a", "rejected": "b"}, "comes with tools"),
        ({"images": ["x.png"], "prompt": "q", "chosen": "a", "rejected": "b"}, "comes with images"),
        ({"prompt": "q", "rejected": "b", "chosen": [{"role": "assistant", "content": "",
          "tool_calls": [{"function": {"name": "now"}}]}]}, "must both be text"),
        ({"prompt": [USER], "rejected": [SUN], "chosen": [{"role": "assistant", "content": "",
          "tool_calls": [{"function": {"name": "now"}}]}, {"role": "tool", "content": "12"}, RAIN]}, "the tool now"),
        ({"prompt": [USER, {"role": "tool", "content": "12"}], "chosen": "a", "rejected": "b"}, 'the role "tool"'),
        ({"prompt": "[{'role': 'user', 'content': 'q'}]", "chosen": "a", "rejected": "b"}, "as Python prints it"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "margin": "wide"}, "margin 'wide' is not a number"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_or_shown_is_refused_by_name(row: dict[str, Any], reason: str) -> None:
    votes, refused = drafted("trl", [row])
    assert (votes, len(refused), reason in refused[0]) == ([], 1, True), refused


def test_the_prompt_is_read_where_the_user_says() -> None:
    rows = [
        {"instruction": "Why?", "input": "Weather.", "system": "Be brief.", "chosen": "a", "rejected": "b"},
        {"instruction": "Why?", "input": "", "chosen": "a", "rejected": "b"},
    ]
    columns = {"prompt": ["instruction", "input"]}
    assert turns_of(rows, columns=columns) == [[("user", "Why?\n\nWeather.")], [("user", "Why?")]]
    with_system = turns_of(rows, columns=columns | {"system": ["system"]})
    assert with_system[0] == [("system", "Be brief."), ("user", "Why?\n\nWeather.")]


def test_hh_text_with_a_prompt_cut_off_is_read_as_hh() -> None:
    row = {"prompt": "\n\nHuman: q\n\nAssistant:", "chosen": " a", "rejected": " b"}
    assert drafted("hh", [row]) == ([("hh (imported)", "a")], [])


def test_unpaired_rows_are_good_or_bad() -> None:
    rows = [
        {"prompt": "Hi", "completion": "Hello.", "label": True},
        {"prompt": [USER], "completion": [RAIN], "label": 0},
        {"prompt": "Hi", "completion": "Bye.", "label": "yes"},
    ]
    votes, refused = drafted("trl", rows, GOOD_OR_BAD)
    assert [vote for _, vote in votes] == ["helpful 2", "helpful 1"]
    assert "neither true nor false" in refused[0]
    assert "--set label.kind=rating --set label.scale=2" in drafted("trl", rows)[1][0]
    seven = drafted("trl", rows, Campaign(name="rated", kind="rating"))
    assert (seven[0], "scale to 2" in seven[1][0]) == ([], True)


def test_our_own_pairs_bring_the_votes_that_they_sum_up() -> None:
    row = {
        "prompt": [USER], "chosen": [RAIN], "rejected": [SUN], "weight": 2.9, "p_chosen": 0.6, "origin": "pair",
        "annotators": ["x", "y", "z"], "votes": [1.0, 0.5, 0.0], "margin": 0.3, "simulated": False,
    }  # fmt: skip
    votes = drafted("trl", [row])[0]
    assert votes == [("annotator x", "Rain."), ("annotator y", "tie"), ("annotator z", "Sun.")]
    for other in ({"origin": "ranking"}, {"votes": None}, {"votes": [1.0, 0.3, 0.0]}, {"p_both_bad": 0.3}):
        assert "--kind answers" in drafted("trl", [row | other])[1][0]
    unpaired = {"prompt": [USER], "completion": [RAIN], "label": True, "p_label": 0.8}
    assert "--kind answers" in drafted("trl", [unpaired], GOOD_OR_BAD)[1][0]
