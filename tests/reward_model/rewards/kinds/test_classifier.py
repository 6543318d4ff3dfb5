"""Somebody else's classifier as a reward: its own tokenizer, its own lengths, and nothing random in it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedModel,
)

from foundation.errors import UserError
from reward_model.rewards.language_models.classifier import _encode
from reward_model.rewards.registry import build
from tests.conftest import CHAT_TEMPLATE
from tests.reward_model.planted import planted

TEXTS = ["the cat ran to the mat and sat", "tea", "the dog", ""]
CPU = {"dtype": "float32", "device": "cpu"}


def save(model: PreTrainedModel, tiny_model: Path, folder: Path, template: str | None) -> Path:
    """The model with the tiny model's tokenizer, which has this chat template."""
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def decoder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random reward model of the usual kind: a decoder with one logit and a chat template."""
    config = LlamaConfig(
        vocab_size=len(AutoTokenizer.from_pretrained(tiny_model)), hidden_size=16, intermediate_size=32,
        num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=64, num_labels=1, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(config)
    return save(model, tiny_model, tmp_path_factory.mktemp("decoder"), CHAT_TEMPLATE)


@pytest.fixture(scope="module")
def encoder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random classifier of pairs of texts, with two labels."""
    config = BertConfig(
        vocab_size=len(AutoTokenizer.from_pretrained(tiny_model)), hidden_size=16, intermediate_size=32,
        num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=64, id2label={0: "rude", 1: "kind"},
        label2id={"rude": 0, "kind": 1}, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    return save(BertForSequenceClassification(config), tiny_model, tmp_path_factory.mktemp("encoder"), None)


def spec(folder: Path, **more: Any) -> dict[str, Any]:
    return {"name": "model", "model": str(folder), **CPU, **more}


def test_texts_and_conversations_are_scored_alike_and_alone(decoder: Path) -> None:
    reward = build(spec(decoder, batch=3))
    together = reward(prompts=["p"] * 4, completions=TEXTS)
    assert len(set(together)) == 4
    spoken = reward(
        prompts=[[{"role": "user", "content": "p"}]] * 4,
        completions=[[{"role": "assistant", "content": text}] for text in TEXTS],
    )
    assert spoken == together
    alone = [reward(prompts=["p"], completions=[text])[0] for text in TEXTS]
    assert together == pytest.approx(alone, abs=1e-5)


def test_the_score_is_the_logit_that_transformers_gives(decoder: Path) -> None:
    model = LlamaForSequenceClassification.from_pretrained(decoder).eval()
    tokenizer = AutoTokenizer.from_pretrained(decoder)
    said = [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "ran"}]
    ids = tokenizer.apply_chat_template(said, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        expected = model(**ids).logits.item()
    assert build(spec(decoder))(prompts=["the cat"], completions=["ran"]) == [pytest.approx(expected, abs=1e-5)]


def test_a_classifier_of_pairs_reads_prompt_and_response_and_one_label(encoder: Path) -> None:
    one, other = (build(spec(encoder, output=output)) for output in ("kind", 1))
    rude = build(spec(encoder, output="rude"))
    given = {"prompts": ["the cat", "the dog"], "completions": ["ran", "ran"]}
    assert one(**given) == other(**given) != rude(**given)
    assert one(**given)[0] != one(**given)[1]


def test_several_labels_need_a_choice(encoder: Path) -> None:
    with pytest.raises(UserError, match=r"says not which logit.* 0 \(rude\), 1 \(kind\)"):
        build(spec(encoder))
    with pytest.raises(UserError, match="asks for its logit 'polite'"):
        build(spec(encoder, output="polite"))


def test_the_oldest_is_cut_from_what_is_too_long(decoder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(decoder)
    tokenizer.truncation_side = "left"
    short, long = (_encode(tokenizer, "the cat " * n, "the dog", 32)["input_ids"] for n in (40, 80))
    assert len(short) == 32
    assert short == long
    assert build(spec(decoder))(prompts=["the cat " * 500], completions=["the dog"])


def test_a_base_model_is_no_reward_model(tiny_model: Path) -> None:
    with pytest.raises(UserError, match=r"score\.weight is not among its weights"):
        build(spec(tiny_model))


def test_an_encoder_without_its_classifier_is_refused(encoder: Path, tiny_model: Path, tmp_path: Path) -> None:
    save(BertModel(BertConfig.from_pretrained(encoder)), tiny_model, tmp_path, None)
    with pytest.raises(UserError, match="would be random"):
        build(spec(tmp_path))


def test_what_cannot_be_loaded_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='the reward "model" cannot load'):
        build(spec(tmp_path / "none"))
    with pytest.raises(UserError, match="parameter model"):
        build({"name": "model"})


def test_it_takes_part_in_a_mixture_with_pairs_of_the_labeling_app(decoder: Path) -> None:
    from reward_model.rewards.mixture import compose

    mixture = compose([spec(decoder), {"name": "length", "target": 3, "weight": 0.5}])
    rows = planted(3)
    values = mixture([row["prompt"] for row in rows], [row["chosen"] for row in rows])
    assert len(values) == 3
    assert mixture.last.keys() == {"model", "length"}
