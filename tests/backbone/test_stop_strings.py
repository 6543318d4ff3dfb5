"""Where a response ends at a stop string, with tokenizers whose first token loses its space."""

from dataclasses import replace
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from backbone.adapters import SharedBase
from backbone.sampling import _stopped
from backbone.templates.answers import Answers
from backbone.templates.plain_text import plain_template


@pytest.mark.parametrize("plain", [True, False])
def test_a_stop_string_may_begin_with_a_space_that_the_tokenizer_drops(base: SharedBase, plain: bool) -> None:
    """SentencePiece's decoders drop the space in front of the first token; byte by byte, the window begins with it."""
    known = {piece: id for id, piece in enumerate(["<unk>", "</s>", "\u2581", "\u2581Me", "M", "e", "a", ":"])}
    pieces = Tokenizer(models.BPE(known, [], unk_token="<unk>"))
    pieces.pre_tokenizer, pieces.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=pieces, eos_token="</s>", unk_token="<unk>")
    tokenizer.pad_token = "<unk>"
    tokenizer.chat_template = plain_template(tokenizer) if plain else "{{ messages[0]['content'] }}"
    answers = Answers(tokenizer, 1, before=":", plain=plain)
    base.renderer = replace(base.renderer, tokenizer=tokenizer, answers=answers)
    assert _stopped(base, [6, 3], (" Me",))
    assert _stopped(base, [6, 2, 4, 5], (" Me",))
    assert not _stopped(base, [6, 4, 5], (" Me",))
    assert _stopped(base, [3], (" Me",)) == plain  # of a chat's answer, the space is no part
