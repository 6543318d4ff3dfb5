"""A Modelfile by Ollama's grammar, whose template renders what the tokenizer's does."""

import re
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from backbone.publishing.modelfile import modelfile
from foundation.errors import UserError
from tests.conftest import CHAT_TEMPLATE

DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe nice.<|im_end|>\n{% endif %}" + CHAT_TEMPLATE
)
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": 'Who "is" there?'},
]


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


def parsed(text: str) -> list[tuple[str, str]]:
    """The instructions, as documented: a word, and an argument that three quotes may stretch over lines."""
    found = []
    while text.strip():
        match = re.match(r'\s*(FROM|TEMPLATE|SYSTEM|LICENSE|PARAMETER) (?:"""(.*?)"""|([^\n]*))\n', text, re.DOTALL)
        assert match, text
        found.append((match[1], match[2] if match[2] is not None else match[3]))
        text = text[match.end() :]
    return found


def by_ollama(file: str, messages: list[dict[str, str]]) -> str:
    """Turn by turn, as Ollama does it with a template that has .System, .Prompt and .Response; Go's words are few."""
    said = dict(parsed(file))
    system = [each["content"] for each in messages if each["role"] == "system"] or [said.get("SYSTEM", "")]
    rest = [each["content"] for each in messages if each["role"] != "system"]
    whole = ""
    for turn in range(0, len(rest), 2):
        values = {"System": system[0] if turn == 0 else "", "Prompt": rest[turn]}
        text = re.sub(
            r"{{ if \.System }}(.*?){{ end }}",
            lambda m, v=values: m[1] if v["System"] else "",
            said["TEMPLATE"],
            flags=re.DOTALL,
        )
        before, after = text.split("{{ .Response }}")
        answer = [rest[turn + 1] + after] if turn + 1 < len(rest) else []
        for name, value in values.items():
            before = before.replace(f"{{{{ .{name} }}}}", value)
        whole += before + "".join(answer)
    return whole


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, DEFAULT_SYSTEM], ids=["plain ChatML", "default system"])
@pytest.mark.parametrize("talk", [TALK, TALK[1:], TALK[1:2], TALK[:2]])
def test_it_renders_as_the_tokenizer_does(template: str, talk: list[dict[str, str]], tokenizer: Any) -> None:
    tokenizer.chat_template = template
    expected = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    assert by_ollama(modelfile(tokenizer, "model.gguf"), talk) == expected


def test_it_names_weights_stop_words_and_licence(tokenizer: Any) -> None:
    found = parsed(modelfile(tokenizer, "model.gguf", "apache-2.0"))
    assert ("FROM", "./model.gguf") in found
    assert ("PARAMETER", 'stop "<|im_end|>"') in found
    assert ("LICENSE", "apache-2.0") in found


@pytest.mark.parametrize(
    "template",
    [
        CHAT_TEMPLATE.replace("{{ m['content'] }}", "{{ m['content'] | upper }}"),
        CHAT_TEMPLATE.replace("assistant\n", "assistant\n<think>\n\n</think>\n\n"),
        "Conversation {{ messages | length }}" + CHAT_TEMPLATE,
        CHAT_TEMPLATE.replace("{{ m['role'] }}", "{{ '{{' }}{{ m['role'] }}"),
    ],
    ids=["changes texts", "adds thoughts", "counts turns", "writes braces"],
)
def test_a_template_that_ollama_cannot_say_is_refused(template: str, tokenizer: Any) -> None:
    tokenizer.chat_template = template
    with pytest.raises(UserError, match=r"chat template (cannot be said|writes)"):
        modelfile(tokenizer, "model.gguf")
