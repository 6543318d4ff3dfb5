"""Ollama's Modelfile: the weights, the template in Ollama's own language, the system prompt, and where answers stop.

Ollama renders a conversation turn by turn from `.System`, `.Prompt` and `.Response`. What a chat template writes around
these is read off rendered conversations, and one of several turns is compared: a template that does more is refused.
"""

import json
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from backbone.templates.plain_text import is_plain
from backbone.tokens import Renderer
from foundation.errors import UserError

_SYSTEM, _ASKED, _SAID, _AGAIN = "Sys-temA", "Ask-edB", "Sa-idC", "Ask-edD"


@dataclass(frozen=True)
class Turns:
    """What stands around the texts of a conversation; `default` is the system prompt of one that has none."""

    system: tuple[str, str]
    user: tuple[str, str]
    after: str
    default: str | None = None

    def render(self, messages: list[dict[str, str]]) -> str:
        """The conversation as Ollama renders it, up to where the next answer begins."""
        given = [each["content"] for each in messages if each["role"] == "system"] or (
            [self.default] if self.default else []
        )
        text = "".join(self.system[0] + each + self.system[1] for each in given)
        for each in messages:
            if each["role"] == "user":
                text += self.user[0] + each["content"] + self.user[1]
            elif each["role"] == "assistant":
                text += each["content"] + self.after
        return text


def modelfile(tokenizer: Any, weights: str, license: str | None = None) -> str:
    """The Modelfile for the GGUF file `weights`; `UserError` if Ollama cannot render as the tokenizer does."""
    lines = [f"FROM ./{weights}"]
    if is_plain(tokenizer):
        lines.append(f"TEMPLATE {_quoted('{{ .Prompt }}')}")
    else:
        turns = turns_of(tokenizer)
        for piece in (*turns.system, *turns.user, turns.after, turns.default or ""):
            if "{{" in piece or '"""' in piece:
                raise UserError(f"the chat template writes {piece!r}, which a Modelfile cannot hold.")
        system = f"{{{{ if .System }}}}{turns.system[0]}{{{{ .System }}}}{turns.system[1]}{{{{ end }}}}"
        turn = f"{turns.user[0]}{{{{ .Prompt }}}}{turns.user[1]}{{{{ .Response }}}}{turns.after}"
        lines.append(f"TEMPLATE {_quoted(system + turn)}")
        if turns.default:
            lines.append(f"SYSTEM {_quoted(turns.default)}")
    ends = tokenizer.convert_ids_to_tokens(sorted(Renderer.of(tokenizer, 1 << 30).eos_ids))
    lines += [f"PARAMETER stop {json.dumps(end, ensure_ascii=False)}" for end in ends]
    if license:
        lines.append(f"LICENSE {_quoted(license)}")
    return "\n".join(lines) + "\n"


def turns_of(tokenizer: Any) -> Turns:
    """Read what the chat template writes around the texts off a few conversations; `UserError` if it does more."""
    try:
        turns = _read(tokenizer)
        system, one, two, three = (
            {"role": role, "content": text}
            for role, text in (("system", "Be brief."), ("user", "Hello?"), ("assistant", "Yes."), ("user", "Who?"))
        )
        same = all(turns.render(each) == _rendered(tokenizer, each) for each in ([one], [system, one, two, three]))
    except (ValueError, IndexError, TemplateError) as error:
        same, reason = False, error
    else:
        reason = None  # type: ignore[assignment]
    if not same:
        raise UserError(
            "the chat template cannot be said in Ollama's own language: it does more than to write a system prompt, "
            "questions and answers one after the other. Use `--to gguf`: llama.cpp reads the template itself."
        ) from reason
    return turns


def _read(tokenizer: Any) -> Turns:
    question = [{"role": "user", "content": _ASKED}]
    alone = _rendered(tokenizer, question)
    whole = _rendered(
        tokenizer, [*question, {"role": "assistant", "content": _SAID}, {"role": "user", "content": _AGAIN}]
    )
    led = _rendered(tokenizer, [{"role": "system", "content": _SYSTEM}, *question])
    head, tail = alone.split(_ASKED)
    between_answers = whole.split(_SAID)[1].split(_AGAIN)[0]
    before, between = led.split(_ASKED)[0].split(_SYSTEM)
    if between_answers.endswith(head) and between.endswith(head):
        after, closing, default = between_answers.removesuffix(head), between.removesuffix(head), None
    else:  # a default system prompt stands in the head
        if not (head.startswith(before) and head.endswith(between)):
            raise ValueError("something else stands before the first question")
        default = head[len(before) : len(head) - len(between)]
        closing = _rendered(tokenizer, [{"role": "system", "content": _SYSTEM}], ask=False).split(_SYSTEM)[1]
        head = between.removeprefix(closing)
        after = between_answers.removesuffix(head)
    return Turns((before, closing), (head, tail), after, default)


def _rendered(tokenizer: Any, messages: list[dict[str, str]], ask: bool = True) -> str:
    """As the template writes it, without a token at the beginning that llama.cpp adds by itself."""
    text = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask))
    adds = tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    return text.removeprefix(tokenizer.bos_token) if adds else text


def _quoted(text: str) -> str:
    return f'"""{text}"""'
