"""What a GGUF file says of a tokenizer, for llama.cpp to cut texts as the tokenizer does.

llama.cpp knows ways to cut a text by name (`tokenizer.ggml.pre`), each with what it does before and after. A tokenizer
gets a name only if all that it does is what the name stands for; any other is refused.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoTokenizer

from backbone.templates.answers import Answers
from foundation.errors import UserError

_GPT2 = {"type": "ByteLevel", "use_regex": True}
_BYTES = {"type": "ByteLevel", "use_regex": False}
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_NAMES = {
    json.dumps([_GPT2]): "gpt-2",
    json.dumps([{"type": "Digits", "individual_digits": True}, _GPT2]): "smollm",
    json.dumps([{"type": "Split", "regex": _LLAMA3}, _BYTES]): "llama-bpe",
    json.dumps([{"type": "Split", "regex": _QWEN2}, _BYTES]): "qwen2",
}
"""How a tokenizer cuts a text before BPE, and llama.cpp's name of that."""
_WHOLE_WORDS = {"llama-bpe"}
"""Names under which a word of the vocabulary is one token, whatever the merges would make of it (`ignore_merges`)."""
_COMPOSED = {"qwen2"}
"""Names of tokenizers that compose letters and accents first (NFC), which llama.cpp leaves to whoever writes a text."""


def check_tokenizer(folder: Path) -> None:
    """`UserError` if the tokenizer in this folder is none that can be written here."""
    vocabulary(folder, 0)


def composes(folder: Path) -> bool:
    """Whether the tokenizer in this folder brings texts into NFC, which llama.cpp does not."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    return tokenizer.backend_tokenizer.normalizer is not None


def vocabulary(folder: Path, rows: int) -> list[Callable[[gguf.GGUFWriter], None]]:
    """What the file says of the tokenizer in `folder`, to be added to a writer; `rows` is the number of embeddings.

    `UserError` if llama.cpp would cut texts otherwise.
    """
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    try:
        if not tokenizer.is_fast:
            raise ValueError("it has no tokenizer.json")
        settings = json.loads(tokenizer.backend_tokenizer.to_str())
        name = _name(settings)
        _check_text(tokenizer)
    except ValueError as error:
        raise UserError(
            f"the tokenizer in {folder} is none that is written as GGUF here ({error}); known are byte-level BPE "
            "tokenizers as GPT-2, SmolLM, Llama 3 and Qwen 2 have them. Convert the model with llama.cpp's "
            "convert_hf_to_gguf.py."
        ) from error
    model = settings["model"]
    added = {token["id"]: token for token in settings["added_tokens"]}
    pieces = {number: piece for piece, number in model["vocab"].items()}
    pieces |= {number: token["content"] for number, token in added.items()}
    kinds = [
        (gguf.TokenType.CONTROL if added[number]["special"] else gguf.TokenType.USER_DEFINED)
        if number in added
        else gguf.TokenType.NORMAL if number in pieces else gguf.TokenType.UNUSED
        for number in range(rows)
    ]  # fmt: skip
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    found: list[Callable[[gguf.GGUFWriter], None]] = [
        lambda writer: writer.add_tokenizer_model("gpt2"),
        lambda writer: writer.add_tokenizer_pre(name),
        lambda writer: writer.add_token_list([pieces.get(number, f"[PAD{number}]") for number in range(rows)]),
        lambda writer: writer.add_token_types(kinds),
        lambda writer: writer.add_token_merges(merges),
        lambda writer: writer.add_add_bos_token(tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id),
    ]
    for special in ("bos", "eos", "pad"):
        if (number := getattr(tokenizer, f"{special}_token_id")) is not None:
            found.append(lambda writer, add=f"add_{special}_token_id", number=number: getattr(writer, add)(number))  # type: ignore[misc]
    if (end := Answers.of(tokenizer).end) != tokenizer.eos_token_id:  # llama.cpp guesses it from well-known names only
        found.append(lambda writer: writer.add_eot_token_id(end))
    if tokenizer.chat_template:
        found.append(lambda writer: writer.add_chat_template(tokenizer.chat_template))
    return found


def _name(settings: dict[str, Any]) -> str:
    """llama.cpp's name of a tokenizer, from its `tokenizer.json`; `ValueError` if it has none."""
    model = settings["model"]
    if model["type"] != "BPE" or model["byte_fallback"]:
        raise ValueError("its tokens are not those of byte-level BPE")
    if model["dropout"] or model["continuing_subword_prefix"] or model["end_of_word_suffix"]:
        raise ValueError("its BPE drops merges, or marks where words begin or end")
    if model["unk_token"] and not set(ByteLevel.alphabet()) <= model["vocab"].keys():
        raise ValueError("it has a token for unknown bytes")
    name = _NAMES.get(_split(settings["pre_tokenizer"] or {"type": None}))
    if name is None:
        raise ValueError("it cuts texts in a way of its own")
    if bool(model["ignore_merges"]) != (name in _WHOLE_WORDS):
        raise ValueError(
            f"its `ignore_merges` is {json.dumps(bool(model['ignore_merges']))}, and llama.cpp's {name} has it "
            f"{json.dumps(name in _WHOLE_WORDS)}"
        )
    normalizer = settings["normalizer"]
    if normalizer is not None and not (normalizer == {"type": "NFC"} and name in _COMPOSED):
        raise ValueError(f"it normalizes texts ({normalizer['type']}), and llama.cpp's {name} does not")
    for token in settings["added_tokens"]:
        if token["lstrip"] or token["rstrip"] or token["single_word"]:
            raise ValueError(f"its token {token['content']} takes up spaces, or stands between words only")
    return name


def _check_text(tokenizer: Any) -> None:
    """`ValueError` unless nothing but a first token is added to a text."""
    text, bare = (tokenizer("a", add_special_tokens=add)["input_ids"] for add in (True, False))
    if text != bare and text != [tokenizer.bos_token_id, *bare]:
        raise ValueError("it adds more to a text than a token at its beginning")


def _split(settings: dict[str, Any]) -> str:
    """A pre-tokenizer in the form of the keys of `_NAMES`."""
    parts = settings["pretokenizers"] if settings["type"] == "Sequence" else [settings]
    told = []
    for part in parts:
        if part["type"] == "ByteLevel":
            if part["add_prefix_space"]:
                raise ValueError("it puts a space before each text")
            told.append({"type": "ByteLevel", "use_regex": part["use_regex"]})
        elif part["type"] == "Split" and part["behavior"] == "Isolated" and not part["invert"]:
            told.append({"type": "Split", "regex": part["pattern"].get("Regex")})
        else:
            told.append(part)
    return json.dumps(told)
