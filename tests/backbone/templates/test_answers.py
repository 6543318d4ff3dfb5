"""Prompts, responses and their ends under templates in the layouts that people use."""

from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from backbone.loading.vocabulary import choose_padding
from backbone.templates.answers import encode
from backbone.tokens import Renderer
from foundation.errors import UserError
from tests.backbone.templates.layouts import LAYOUTS, Layout, tokenizer_of

ROWS = 1000


def ask(text: str = "the cat") -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def answered(text: str) -> list[dict[str, str]]:
    return [*ask(), {"role": "assistant", "content": text}]


def renderer_of(tokenizer: PreTrainedTokenizerFast, **given: Any) -> Renderer:
    choose_padding(tokenizer, {tokenizer.eos_token_id}, ROWS)
    return Renderer.of(tokenizer, 256, **given)


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> Layout:
    return LAYOUTS[request.param]


@pytest.fixture(params=["bytes", "words", "adds BOS"])
def tokenizer(request: pytest.FixtureRequest, layout: Layout) -> PreTrainedTokenizerFast:
    return tokenizer_of(layout, words=request.param == "words", adds_bos=request.param == "adds BOS")


def test_prompt_and_response_are_what_the_layout_says(layout: Layout) -> None:
    tokenizer = tokenizer_of(layout)
    renderer = renderer_of(tokenizer)
    assert tokenizer.decode(renderer.prompt_ids(ask())) == layout.prompt
    assert tokenizer.decode(renderer.response_ids("sat")) == layout.response


def test_what_the_template_puts_after_an_answer_ends_it(layout: Layout, tokenizer: PreTrainedTokenizerFast) -> None:
    renderer = renderer_of(tokenizer)
    end = tokenizer.convert_tokens_to_ids(layout.end)
    assert renderer.eos_ids[0] == end
    assert renderer.response_ids("sat")[-1] == end
    assert tokenizer.eos_token_id in renderer.eos_ids
    assert renderer.pad_id not in renderer.eos_ids


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "DeepSeek-R1"])  # which asks for thoughts
@pytest.mark.parametrize("kind", ["bytes", "words"])
def test_prompt_and_response_are_the_whole_conversation_as_the_template_writes_it(name: str, kind: str) -> None:
    tokenizer = tokenizer_of(LAYOUTS[name], words=kind == "words")
    renderer = renderer_of(tokenizer)
    answer = " on the mat" if renderer.plain else "on the mat"
    whole = encode(tokenizer, tokenizer.apply_chat_template(answered(answer), tokenize=False))
    ours = renderer.prompt_ids(ask()) + renderer.response_ids(answer)
    assert ours == whole[: len(ours)]
    assert tokenizer.decode(whole[len(ours) :]).strip() in ("", tokenizer.eos_token)


def test_text_comes_back_and_is_tokenised_the_same_again(tokenizer: PreTrainedTokenizerFast) -> None:
    renderer = renderer_of(tokenizer)
    for text in ("on the mat", "the cat", "sat\n\non the mat"):
        ids = renderer.response_ids(text)
        assert renderer.text(ids) == text
        assert renderer.response_ids(renderer.text(ids)) == ids


def test_bos_is_there_once_or_not_at_all(layout: Layout, tokenizer: PreTrainedTokenizerFast) -> None:
    renderer = renderer_of(tokenizer)
    bos = tokenizer.bos_token_id
    begins = layout.prompt.startswith(layout.named[0]) or (
        layout.template is None and tokenizer("a")["input_ids"][0] == bos
    )
    prompt = renderer.prompt_ids(ask())
    assert prompt.count(bos) == prompt[:1].count(bos) == begins
    assert bos not in renderer.response_ids("sat")[:-1]


def test_plain_text_keeps_its_white_space_and_a_chat_does_not() -> None:
    for words in (False, True):
        renderer = renderer_of(tokenizer_of(LAYOUTS["plain"], words=words))
        for text in (" there was", "there was", "\n\nthere was", " there was \n"):
            ids = renderer.response_ids(text)
            assert renderer.text(ids) == text
            assert renderer.response_ids(renderer.text(ids)) == ids
    chat = renderer_of(tokenizer_of(LAYOUTS["ChatML"]))
    assert chat.text(encode(chat.tokenizer, " there was\n")) == "there was"
    assert chat.response_ids(" there was\n") == chat.response_ids("there was")


def test_thoughts_that_were_sampled_stay_part_of_the_response() -> None:
    tokenizer = tokenizer_of(LAYOUTS["Qwen 3"])
    renderer = renderer_of(tokenizer)
    thought = encode(tokenizer, "<think>\nthe mat\n</think>\n\nsat")
    assert renderer.text(thought) == "<think>\nthe mat\n</think>\n\nsat"
    assert renderer.response_ids(renderer.text(thought))[:-1] == thought


def test_of_channels_the_last_is_the_text() -> None:
    tokenizer = tokenizer_of(LAYOUTS["gpt-oss"])
    renderer = renderer_of(tokenizer)
    said = "<|channel|>analysis<|message|>the mat<|end|><|start|>assistant<|channel|>final<|message|>sat<|return|>"
    assert renderer.text(encode(tokenizer, said)) == "sat"
    assert renderer.completed(encode(tokenizer, said)) == renderer.response_ids("sat")
    assert tokenizer.convert_tokens_to_ids("<|end|>") not in renderer.eos_ids


def test_a_marker_that_is_no_token_is_refused() -> None:
    tokenizer = tokenizer_of(LAYOUTS["Zephyr"])
    tokenizer.chat_template = LAYOUTS["ChatML"].template
    with pytest.raises(UserError, match=r'ends an answer with "<\|im_end\|>", which is not a token') as told:
        renderer_of(tokenizer)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for m in messages %}{{ m['content'] }", r"unexpected.*line 1"),
        ("{{ raise_exception('Only for tools.') }}", "Only for tools"),
        ("{{ messages[0]['content'] + none }}", "concatenate"),
        ("{{ bos_token }}", "leaves out what a message says"),
        ("{% for m in messages %}{% for p in m['content'] %}{{ p['text'] }}{% endfor %}{% endfor %}", "leaves out"),
        (
            "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}",
            r'ignores add_generation_prompt: it puts "<\|im_start\|>assistant"',
        ),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_in_one_sentence(template: str, reason: str) -> None:
    tokenizer = tokenizer_of(LAYOUTS["ChatML"])
    tokenizer.chat_template = template
    with pytest.raises(UserError, match=reason) as told:
        renderer_of(tokenizer)
    assert "\n" not in str(told.value)
    assert "template=plain" in str(told.value)


def test_prompts_that_the_template_refuses_are_all_told_with_the_reason() -> None:
    renderer = renderer_of(tokenizer_of(LAYOUTS["Gemma 2"]), rows=ROWS)
    system = [{"role": "system", "content": "be kind"}, *ask()]
    found = renderer.refusals([ask(), system, ask("the cat " * 300), system])
    assert list(found) == [1, 2, 3]
    assert "System role not supported" in found[1].reason
    assert "tokens long" in found[2].reason
    with pytest.raises(UserError, match=r'System role not supported.*"the cat"'):
        renderer.prompt_ids(system)


@pytest.mark.parametrize("messages", [[{"role": "system", "content": "be kind"}, *ask()], [*answered("sat"), *ask()]])
def test_plain_text_is_one_message(messages: list[dict[str, str]]) -> None:
    with pytest.raises(UserError, match="plain text"):
        renderer_of(tokenizer_of(LAYOUTS["plain"])).prompt_ids(messages)


def test_a_token_that_the_model_does_not_embed_is_refused_where_a_text_contains_it() -> None:
    tokenizer = tokenizer_of(LAYOUTS["ChatML"])
    renderer = renderer_of(tokenizer, rows=len(tokenizer))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    assert 0 in renderer.refusals([ask("the <image>")])
    with pytest.raises(UserError, match=r'a response contains "<image>"'):
        renderer.response_ids("the <image>")
