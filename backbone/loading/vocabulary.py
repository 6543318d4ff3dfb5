"""Whether a tokenizer and the embedding of a model belong together, and which of its tokens can serve as padding."""

from collections.abc import Set

from transformers import PreTrainedTokenizerBase

from backbone.loading.demo_model import DEMO_PAD
from backbone.templates.answers import encode, render, special_tokens
from foundation.errors import UserError

# Control characters, which no text contains, as byte-fallback and byte-level tokenizers spell them. What is chosen is a
# special token when the tokenizer is loaded again, so it is one whose spelling no text contains either.
_CONTROL = ("<0x00>", "\u0114", "\u0115")
_SPARE_ROWS = 512  # embeddings are padded to round sizes


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, rows: int, model: str) -> None:
    """Refuse a tokenizer of another model: one that uses tokens without a row, or has far fewer tokens than rows."""
    known = tokenizer.get_vocab()
    if not known or not encode(tokenizer, "a"):
        raise UserError(f'the model "{model}" has no tokenizer. {_COPY}')
    added = tokenizer.added_tokens_decoder
    written = set(encode(tokenizer, render(tokenizer, [{"role": "user", "content": "a"}], ask=True)))
    needed = {id for id in known.values() if id not in added} | written | {tokenizer.eos_token_id or 0}
    if max(needed) >= rows:
        token = tokenizer.convert_ids_to_tokens(max(needed))
        raise UserError(
            f'the tokenizer of "{model}" has the token "{token}" with number {max(needed)}, but the model embeds only '
            f"{rows} tokens (from 0): it belongs to another model, or was extended without the model. {_COPY}"
        )
    spare = rows - 1 - max(known.values())
    if spare > max(_SPARE_ROWS, rows // 10):
        raise UserError(
            f'the tokenizer of "{model}" has {len(known)} tokens, but the model embeds {rows}: it belongs to another '
            f"model. {_COPY}"
        )


def choose_padding(tokenizer: PreTrainedTokenizerBase, ends: Set[int], rows: int) -> None:
    """Keep the padding token if it has a row and is none of `ends`, which end a turn; else take another token.

    Without a special token to spare it is one that text does not contain; masks and the end of turn tell it from
    text in any case.
    """
    known = tokenizer.get_vocab()

    def usable(id: int | None) -> bool:
        return id is not None and id < rows and id not in ends

    if usable(tokenizer.pad_token_id):
        return
    special = special_tokens(tokenizer)
    preferred = [token for token in special if "pad" in token.lower() or token == DEMO_PAD]
    others = [token for token in special if token != tokenizer.bos_token]
    last = sorted(known, key=known.__getitem__, reverse=True)
    for token in [*preferred, *others, *special, *_CONTROL, *last]:
        if usable(known.get(token)):
            tokenizer.pad_token = token
            return
    raise UserError("every token of the tokenizer ends a turn. Use the tokenizer that belongs to the model.")


_COPY = "Copy the model's own tokenizer (tokenizer.json and tokenizer_config.json) into its folder."
