"""Small chat templates in the layouts of well-known families, and tokenizers that carry them."""

import string
from typing import NamedTuple

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from backbone.templates.plain_text import plain_template

TEXT = ["the cat sat on the mat and the dog ran to the cat", "Once upon a time there was a cat."] * 4
ASK = "{% if add_generation_prompt %}"
EACH = "{% for m in messages %}"
ROLE = "{{ m['role'] }}"
SAYS = "{{ m['content'] }}"


class Layout(NamedTuple):
    """A template with its tokens.

    `named` tokens have an attribute of the tokenizer's (the first is BOS, the last EOS), `added` ones were only added
    as special. For the question "the cat" and the answer "sat", `prompt` and `response` are what the model must see.
    """

    template: str | None
    named: tuple[str, ...]
    added: tuple[str, ...]
    prompt: str
    response: str
    end: str


LAYOUTS = {
    "ChatML": Layout(
        f"{EACH}<|im_start|>{ROLE}\n{SAYS}<|im_end|>\n{{% endfor %}}{ASK}<|im_start|>assistant\n{{% endif %}}",
        ("<|endoftext|>", "<|im_end|>"),
        ("<|im_start|>",),
        "<|im_start|>user\nthe cat<|im_end|>\n<|im_start|>assistant\n",
        "sat<|im_end|>",
        "<|im_end|>",
    ),
    "Llama 3": Layout(
        f"{{{{ bos_token }}}}{EACH}<|start_header_id|>{ROLE}<|end_header_id|>\n\n{{{{ m['content'] | trim }}}}"
        f"<|eot_id|>{{% endfor %}}{ASK}<|start_header_id|>assistant<|end_header_id|>\n\n{{% endif %}}",
        ("<|begin_of_text|>", "<|end_of_text|>"),
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nthe cat<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "sat<|eot_id|>",
        "<|eot_id|>",
    ),
    "Mistral": Layout(
        f"{{{{ bos_token }}}}{EACH}{{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}}"
        "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
        f"{{% if m['role'] == 'user' %}}[INST] {SAYS} [/INST]{{% else %}} {SAYS}{{{{ eos_token }}}}{{% endif %}}"
        "{% endfor %}",
        ("<s>", "</s>"),
        (),
        "<s>[INST] the cat [/INST]",
        " sat</s>",
        "</s>",
    ),
    "Gemma 2": Layout(
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
        f"{{% endif %}}{EACH}<start_of_turn>{{{{ 'model' if m['role'] == 'assistant' else m['role'] }}}}\n"
        f"{{{{ m['content'] | trim }}}}<end_of_turn>\n{{% endfor %}}{ASK}<start_of_turn>model\n{{% endif %}}",
        ("<bos>", "<pad>", "<eos>"),
        ("<start_of_turn>", "<end_of_turn>"),
        "<bos><start_of_turn>user\nthe cat<end_of_turn>\n<start_of_turn>model\n",
        "sat<end_of_turn>",
        "<end_of_turn>",
    ),
    "Gemma 3": Layout(
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
        "{% set turns = messages[1:] %}{% else %}{% set first = '' %}{% set turns = messages %}{% endif %}"
        "{% for m in turns %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
        f"{{{{ first if loop.first else '' }}}}{{{{ m['content'] | trim }}}}<end_of_turn>\n{{% endfor %}}"
        f"{ASK}<start_of_turn>model\n{{% endif %}}",
        ("<bos>", "<pad>", "<eos>"),
        ("<start_of_turn>", "<end_of_turn>"),
        "<bos><start_of_turn>user\nthe cat<end_of_turn>\n<start_of_turn>model\n",
        "sat<end_of_turn>",
        "<end_of_turn>",
    ),
    "Phi-3": Layout(
        f"{EACH}<|{ROLE}|>\n{SAYS}<|end|>\n{{% endfor %}}"
        f"{ASK}<|assistant|>\n{{% else %}}{{{{ eos_token }}}}{{% endif %}}",
        ("<s>", "<|endoftext|>"),
        ("<|user|>", "<|assistant|>", "<|end|>"),
        "<|user|>\nthe cat<|end|>\n<|assistant|>\n",
        "sat<|end|>",
        "<|end|>",
    ),
    "Qwen 3": Layout(
        f"{EACH}<|im_start|>{ROLE}\n{{% if m['role'] == 'assistant' and loop.last %}}"
        "{% set parts = m['content'].split('</think>') %}<think>\n"
        "{{ parts[0].split('<think>')[-1].strip('\n') if parts | length > 1 else '' }}\n</think>\n\n"
        f"{{{{ parts[-1].lstrip('\n') }}}}{{% else %}}{SAYS}{{% endif %}}<|im_end|>\n"
        f"{{% endfor %}}{ASK}<|im_start|>assistant\n{{% endif %}}",
        ("<|endoftext|>", "<|im_end|>"),
        ("<|im_start|>",),
        "<|im_start|>user\nthe cat<|im_end|>\n<|im_start|>assistant\n",
        "<think>\n\n</think>\n\nsat<|im_end|>",
        "<|im_end|>",
    ),
    "DeepSeek-R1": Layout(
        f"{{{{ bos_token }}}}{EACH}{{% if m['role'] == 'user' %}}<｜User｜>{SAYS}{{% else %}}"
        "<｜Assistant｜>{{ m['content'].split('</think>')[-1] }}<｜end▁of▁sentence｜>{% endif %}{% endfor %}"
        f"{ASK}<｜Assistant｜><think>\n{{% endif %}}",
        ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
        ("<｜User｜>", "<｜Assistant｜>"),
        "<｜begin▁of▁sentence｜><｜User｜>the cat<｜Assistant｜><think>\n",
        "sat<｜end▁of▁sentence｜>",
        "<｜end▁of▁sentence｜>",
    ),
    "gpt-oss": Layout(
        f"{EACH}<|start|>{ROLE}{{% if m['role'] == 'assistant' %}}<|channel|>final<|message|>{SAYS}"
        "{{ '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}"
        f"{{% else %}}<|message|>{SAYS}<|end|>{{% endif %}}{{% endfor %}}{ASK}<|start|>assistant{{% endif %}}",
        ("<|startoftext|>", "<|return|>"),
        ("<|start|>", "<|channel|>", "<|message|>", "<|end|>"),
        "<|start|>user<|message|>the cat<|end|><|start|>assistant",
        "<|channel|>final<|message|>sat<|return|>",
        "<|return|>",
    ),
    "Zephyr": Layout(
        f"{EACH}<|{ROLE}|>\n{SAYS}{{{{ eos_token }}}}\n{{% endfor %}}{ASK}<|assistant|>\n{{% endif %}}",
        ("<s>", "</s>"),
        (),
        "<|user|>\nthe cat</s>\n<|assistant|>\n",
        "sat</s>",
        "</s>",
    ),
    "plain": Layout(None, ("<|endoftext|>",), (), "the cat", "sat<|endoftext|>", "<|endoftext|>"),
}


def tokenizer_of(layout: Layout, *, words: bool = False, adds_bos: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with the layout's tokens and template; with `words` one that marks the start of words, as
    SentencePiece does. `adds_bos` has it put BOS before every text.
    """
    core = Tokenizer(models.BPE(byte_fallback=words))
    if words:
        core.pre_tokenizer, core.decoder = pre_tokenizers.Metaspace(prepend_scheme="first"), decoders.Metaspace()
        alphabet = list(string.printable)
    else:
        core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(
            vocab_size=330, special_tokens=list(layout.named), initial_alphabet=alphabet, show_progress=False
        ),
    )
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in layout.added])
    found = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=layout.named[0],
        eos_token=layout.named[-1],
        **({"pad_token": "<pad>"} if "<pad>" in layout.named else {}),
    )
    if adds_bos:
        found = with_bos(found)
    found.chat_template = layout.template or plain_template(found)
    return found


def with_bos(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The tokenizer, putting BOS before a text unless told to add no special tokens."""
    bos = str(tokenizer.bos_token)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.bos_token_id)]
    )
    return tokenizer
