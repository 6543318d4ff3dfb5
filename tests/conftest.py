"""What several tests share: a tiny random language model with a real tokenizer and chat template."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # before torch is loaded, as `foundation/threads.py` does for commands

import random
import secrets
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.suite.order import long_ones_first

# With CI set, hypothesis takes its profile "ci": the same examples in every run. A busy machine is no fault.
hypothesis.settings.register_profile("development", deadline=None)
if hypothesis.settings.get_current_profile_name() == "default":
    hypothesis.settings.load_profile("development")

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long tests begin first."""
    items[:] = long_ones_first(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """What is drawn without a seed is the same whenever this test runs: ids, links, the seeds of a server's answers.

    Processes that a test starts draw as they do for people.
    """
    drawn = random.Random(item.nodeid)
    random.seed(item.nodeid)
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secrets, "token_bytes", lambda nbytes=None: drawn.randbytes(32 if nbytes is None else nbytes))
        patch.setattr(secrets, "randbelow", drawn.randrange)
        return (yield)


def make_tiny_model(folder: Path, seed: int = 0) -> Path:
    """Save a random two-layer Llama (fp32, about 20,000 parameters) and its byte-level BPE tokenizer to `folder`."""
    tokenizer = _byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    torch.manual_seed(seed)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def make_tiny_gpt2(folder: Path, seed: int = 0) -> Path:
    """Save a random GPT-2 as it was published: no chat template, and one special token for everything."""
    end = "<|endoftext|>"
    fast = PreTrainedTokenizerFast(tokenizer_object=_byte_level([end]), bos_token=end, eos_token=end, unk_token=end)
    fast.save_pretrained(folder)
    config = GPT2Config(
        vocab_size=len(fast), n_positions=256, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0
    )
    torch.manual_seed(seed)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def _byte_level(special_tokens: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=special_tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the cat sat on the mat and the dog ran to the cat"] * 4, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random chat model."""
    return make_tiny_model(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture(scope="session", autouse=True)
def _quick_stores_and_passwords() -> Iterator[None]:
    from alembic import command  # here, because most tests of models need neither

    from labeling_ui.people import passwords
    from tests.suite.new_stores import RecordedUpgrade
    from tests.suite.quick_passwords import QUICK

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "upgrade", RecordedUpgrade())
        patch.setattr(passwords, "hasher", QUICK)
        yield
