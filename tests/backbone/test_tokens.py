from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbone.loading.models import load_tokenizer
from backbone.tokens import Renderer, pad_left, pad_right
from foundation.errors import UserError

CONVERSATION = [
    {"role": "user", "content": "the cat sat"},
    {"role": "assistant", "content": "on the mat"},
    {"role": "user", "content": "and  the dog?\n"},
]
ANSWERS = ["ran to the cat.", "Café — 你好 🙂\n\n* one\n* two", "It 's , a fact !", "no"]
QUICK = settings(deadline=None, max_examples=60)
# The demo tokenizer has no tokens for control characters and for the first byte of unassigned planes.
SOME_TEXT = st.text(st.characters(exclude_categories=["Cc", "Cn", "Co", "Cs"]), max_size=40).map(str.strip)
SOME_IDS = st.lists(st.integers(0, 319), max_size=30)


@pytest.fixture(scope="module", params=["tiny", "demo"])
def renderer(request: pytest.FixtureRequest) -> Renderer:
    """The rules of the tiny and of the demo model's tokenizer."""
    folder: Path = request.getfixturevalue(f"{request.param}_model")
    return Renderer.of(load_tokenizer(str(folder)), 256)


@pytest.mark.parametrize("answer", ANSWERS)
def test_prompt_and_response_are_what_the_chat_template_makes_of_the_whole_conversation(
    renderer: Renderer, answer: str
) -> None:
    ours = renderer.prompt_ids(CONVERSATION) + renderer.response_ids(answer)
    whole = renderer.tokenizer.apply_chat_template(
        [*CONVERSATION, {"role": "assistant", "content": answer}], tokenize=True, return_dict=False
    )
    assert ours == whole[: len(ours)]
    assert renderer.tokenizer.decode(whole[len(ours) :]).strip() == ""


@QUICK
@given(text=SOME_TEXT)
def test_text_survives_rendering(renderer: Renderer, text: str) -> None:
    assert renderer.text(renderer.response_ids(text)) == text


@QUICK
@given(ids=SOME_IDS)
def test_completing_ends_the_turn_once(renderer: Renderer, ids: list[int]) -> None:
    completed = renderer.completed(ids)
    assert completed[-1] == renderer.eos_ids[0]
    assert renderer.completed(completed) == completed
    assert completed[:-1] == (ids[:-1] if ids and ids[-1] in renderer.eos_ids else ids)


def test_a_response_that_ended_and_one_that_was_cut_off_complete_to_the_same_ids(renderer: Renderer) -> None:
    whole = renderer.response_ids("the cat sat")
    assert renderer.completed(whole) == whole
    assert renderer.completed(whole[:-1]) == whole


def test_any_end_of_turn_is_completed_to_the_template_own(tiny_model: Path) -> None:
    renderer = Renderer.of(load_tokenizer(str(tiny_model)), 256, eos_ids=[1, 2])
    assert renderer.eos_ids == (2, 1)
    assert renderer.completed([5, 6, 1]) == [5, 6, 2]


@QUICK
@given(prompt=SOME_IDS, response=st.lists(st.integers(0, 319), min_size=1, max_size=30), length=st.integers(4, 64))
def test_fitting_keeps_the_end_of_the_prompt_the_start_of_the_response_and_the_end_of_turn(
    renderer: Renderer, prompt: list[int], response: list[int], length: int
) -> None:
    kept_prompt, kept_response, cut = renderer.fit(prompt, response, length)
    assert cut == (len(prompt) + len(response) > length)
    assert len(kept_prompt) + len(kept_response) == min(length, len(prompt) + len(response))
    assert kept_prompt == prompt[len(prompt) - len(kept_prompt) :]
    assert kept_response[-1] == response[-1]
    assert kept_response[:-1] == response[: len(kept_response) - 1]
    assert len(kept_prompt) >= min(len(prompt), length // 4)
    if kept_response != response:
        assert len(kept_prompt) == min(len(prompt), length // 4)


def test_fitting_cuts_the_prompt_before_the_response(renderer: Renderer) -> None:
    assert renderer.fit([1, 2, 3, 4, 5, 6], [7, 8, 9], 6) == ([4, 5, 6], [7, 8, 9], True)
    assert renderer.fit([1, 2, 3, 4], [5, 6, 7, 8, 9, 10], 8) == ([3, 4], [5, 6, 7, 8, 9, 10], True)
    assert renderer.fit([1, 2, 3, 4], [5, 6, 7, 8, 9, 10], 4) == ([4], [5, 6, 10], True)


def test_responses_to_one_prompt_share_what_is_left_of_it(renderer: Renderer) -> None:
    assert renderer.fit_all([1, 2, 3, 4, 5, 6], [[7], [8, 9, 10]], 6) == ([4, 5, 6], [[7], [8, 9, 10]], True)
    assert renderer.fit_all([1, 2], [[3], [4, 5]], 4) == ([1, 2], [[3], [4, 5]], False)


def test_a_prompt_that_leaves_no_room_is_refused(renderer: Renderer) -> None:
    length = len(renderer.prompt_ids(CONVERSATION))
    renderer.prompt_ids(CONVERSATION, reserve=256 - length)
    with pytest.raises(UserError, match=rf'{length} tokens long.*context of 256: "and  the dog\?'):
        renderer.prompt_ids(CONVERSATION, reserve=257 - length)


def test_padding_goes_to_the_side_that_was_asked_for() -> None:
    ids, mask = pad_right([[5, 6, 7], [8]], 0)
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    ids, mask = pad_left([[5, 6, 7], [8]], 0)
    assert ids.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
