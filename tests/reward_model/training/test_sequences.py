"""Labels as sequences: each response once, nothing lost, and the same loss however they are put together."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backbone.cpu.attention import use_attention
from backbone.cpu.shared_prompt_attention import SHARED_PROMPT_ATTENTION
from backbone.exactness import load_shared_base
from backbone.loading.models import load_tokenizer
from backbone.tokens import Renderer, pad_left, pad_right
from reward_model.labels.encoding import LabelEncoding
from reward_model.labels.label_model import LabelModel
from reward_model.labels.records import Label, Pair, Ranking, Rating
from reward_model.training.batch_layouts import last_states_of
from reward_model.training.collator import LabelCollator
from reward_model.training.sequences import to_sequences

HELLO = ({"role": "user", "content": "the cat"},)
OTHER = ({"role": "user", "content": "the dog ran to the mat"},)
TEXTS = ("the mat", "the dog ran", "a cat sat on the mat", "no")


@pytest.fixture(scope="module")
def renderer(tiny_model: Path) -> Renderer:
    return Renderer.of(load_tokenizer(str(tiny_model)), 256)


MIXED: list[Label] = [
    Pair(HELLO, TEXTS[0], TEXTS[1], margin=0.2, weight=2.0, p_chosen=0.75, p_tie=0.2),
    Ranking(OTHER, TEXTS[:3], (2, 1, 2)),
    Pair(HELLO, TEXTS[2], TEXTS[0]),
    Rating(OTHER, TEXTS[3], 4, 5, "ann", aspect="honest"),
    Rating(HELLO, TEXTS[3], 1, 7, "ben"),
    Rating(OTHER, TEXTS[0], 2, 5, "ben", weight=0.5, aspect="honest"),
]


def losses(labels: list[Label], renderer: Renderer, scored: dict[str, float], batch_size: int = 8) -> float:
    """The mean loss over batches of all the labels' sequences, where a text has the same score as an answer to all."""
    encoding = LabelEncoding.of(labels)
    data = to_sequences(labels, encoding, renderer, 64).dataset
    model = LabelModel(encoding, labels, 4)
    texts = {tuple(renderer.response_ids(text)): score for text, score in scored.items()}
    total = 0.0
    for first in range(0, len(data), batch_size):
        examples = [data[i] for i in range(first, min(first + batch_size, len(data)))]
        scores = torch.tensor([texts[tuple(ids)] for example in examples for ids in example["response_ids"]])
        said = model(scores[:, None].expand(-1, len(encoding.aspects)), LabelCollator(0)(examples))
        total += said.item() * len(examples)
    return total / len(data)


def test_a_response_is_there_once_whatever_was_said_of_it(renderer):
    data = to_sequences(MIXED, LabelEncoding.of(MIXED), renderer, 64)
    assert data.labels == 6
    assert len(data.dataset) == 2
    assert [len(example["response_ids"]) for example in data.dataset] == [4, 4]
    assert [example["length"] for example in data.dataset] == [
        len(renderer.prompt_ids(prompt)) + sum(len(renderer.response_ids(text)) for text in TEXTS)
        for prompt in (HELLO, OTHER)
    ]
    total = sum(label["weight"] for example in data.dataset for label in example["labels"])
    assert total / len(data.dataset) == pytest.approx(1), "a sequence's labels weigh 1 together, on average"


def test_what_is_too_long_for_a_sequence_is_parted(renderer):
    labels: list[Label] = [Pair(HELLO, f"the cat {i} " * 4, f"the dog {i} " * 4) for i in range(6)]
    data = to_sequences(labels, LabelEncoding.of(labels), renderer, 64).dataset
    assert 1 < len(data) < 6
    assert max(data["length"]) <= 128
    assert sum(len(example["labels"]) for example in data) == 6


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4), st.permutations(MIXED), st.integers(1, 2))
def test_the_loss_does_not_depend_on_order_or_batches(renderer, scores, order, batch_size):
    scored = dict(zip(TEXTS, scores, strict=True))
    assert losses(order, renderer, scored, batch_size) == pytest.approx(losses(MIXED, renderer, scored), abs=1e-5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4), st.sampled_from([0, 1, 2]))
def test_a_comparison_given_twice_is_one_of_twice_the_weight(renderer, scores, which):
    scored = dict(zip(TEXTS, scores, strict=True))
    heavier = [replace(label, weight=label.weight * (2 if i == which else 1)) for i, label in enumerate(MIXED)]
    twice = [*MIXED, MIXED[which]]
    assert losses(twice, renderer, scored) == pytest.approx(losses(heavier, renderer, scored), abs=1e-5)


@pytest.mark.parametrize("layout", ["stream", "rows"])
def test_every_layout_gives_the_same_states_in_the_same_order(renderer, tiny_model, layout):
    base = load_shared_base(str(tiny_model), "float32", "cpu")
    data = to_sequences(MIXED, LabelEncoding.of(MIXED), renderer, 64).dataset
    batches = [LabelCollator(renderer.pad_id, one)(list(data)) for one in (layout, "apart")]
    attention = [SHARED_PROMPT_ATTENTION if layout == "stream" else None, None]
    found = []
    for batch, name in zip(batches, attention, strict=True):
        with torch.no_grad(), use_attention(base.base.config, name):
            found.append(last_states_of(base, batch))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=0)
    for name in ("group", "log_length", "pairs", "pair_values", "rankings", "ranks", "rated", "raters"):
        assert torch.equal(batches[0][name], batches[1][name])


def test_places_in_a_batch_are_counted_on_from_sequence_to_sequence(renderer):
    data = to_sequences(MIXED, LabelEncoding.of(MIXED), renderer, 64).dataset
    batch = LabelCollator(0)(list(data))
    assert batch["group"].tolist() == [0] * 4 + [1] * 4
    assert batch["pairs"].tolist() == [[0, 1], [2, 0]]
    assert batch["pair_values"][0].tolist() == pytest.approx([0.75, 0.2, 0.2])
    assert batch["rankings"].tolist() == [[4, 5, 6]]
    assert batch["ranks"].tolist() == [[2, 1, 2]]
    assert batch["rated"].tolist() == [3, 7, 4]
    assert LabelEncoding.of(MIXED).raters == (("", 7, "ben"), ("honest", 5, "ann"), ("honest", 5, "ben"))
    assert batch["raters"].tolist() == [0, 1, 2]


def test_the_side_of_the_padding_changes_no_state(renderer, tiny_model):
    base = load_shared_base(str(tiny_model), "float32", "cpu")
    sequences = [[*renderer.prompt_ids(HELLO), *renderer.response_ids(text)] for text in TEXTS]
    found = []
    for pad in (pad_left, pad_right):
        ids, mask = pad(sequences, renderer.pad_id)
        last = mask.shape[1] - 1 - mask.flip(1).argmax(1)
        with torch.no_grad():
            found.append(base.hidden_states(ids, mask)[torch.arange(len(sequences)), last])
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=0)
