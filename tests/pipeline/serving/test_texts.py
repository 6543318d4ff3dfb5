"""Tokens that arrive one by one as text: what a stop text leaves of it, and that nothing told is taken back."""

import pytest

from backbone.loading.vocabulary import choose_padding
from backbone.templates.answers import encode
from backbone.tokens import Renderer
from pipeline.serving.engine import Token
from pipeline.serving.texts import GrowingText
from tests.backbone.templates.layouts import LAYOUTS, tokenizer_of


def grown(said: str, stop: tuple[str, ...], layout: str = "ChatML") -> tuple[GrowingText, str]:
    """A response of a token a byte that ends where the sampler would, and its pieces, one after the other."""
    tokenizer = tokenizer_of(LAYOUTS[layout])
    choose_padding(tokenizer, {tokenizer.eos_token_id}, 1000)
    renderer = Renderer.of(tokenizer, 256)
    text, pieces = GrowingText(renderer, stop), ""
    ids = encode(tokenizer, said)
    for number, id in enumerate(ids, start=1):
        stopped = any(each in tokenizer.decode(ids[:number]) for each in stop)
        pieces += text.add(Token(0, id, None, (), "stop" if stopped else "length" if number == len(ids) else None))[0]
        if stopped:
            break
    return text, pieces


@pytest.mark.parametrize(
    ("said", "stop", "shown"),
    [
        ("Thought: x\nObservation: y", "\nObservation: ", "Thought: x"),
        ("Yes.\nNo.", ".\n", "Yes"),
        ("\nUser: hello", "\nUser:", ""),
        ("a  b", " b", "a"),
        (" a\n\nb", "\n\n", "a"),
        ("\n a b ", "never", "a b"),
        ("é ü\n", "ü", "é"),
    ],
)
def test_a_stop_text_may_begin_and_end_with_white_space(said: str, stop: str, shown: str) -> None:
    text, pieces = grown(said, (stop,))
    assert (text.text, pieces) == (shown, shown)


def test_white_space_of_plain_text_counts_up_to_the_stop_text() -> None:
    text, pieces = grown(" a \n b", ("\n b",), "plain")
    assert text.text == pieces == " a "
