"""Labels as token ids."""

from pathlib import Path

import pytest

from backbone.loading.models import load_tokenizer
from backbone.tokens import Renderer
from reward_model.labels.reading import to_pair
from reward_model.labels.rendering import rendered
from tests.reward_model.planted import planted


@pytest.fixture(scope="module")
def renderer(tiny_model: Path) -> Renderer:
    return Renderer.of(load_tokenizer(str(tiny_model)), 256)


def test_a_row_becomes_prompt_and_completed_responses(renderer):
    row = planted(1)[0]
    prompt, responses, cut = rendered(to_pair(row, "row"), renderer, 256)
    assert prompt == renderer.prompt_ids(row["prompt"])
    assert responses == [renderer.response_ids(row[side][0]["content"]) for side in ("chosen", "rejected")]
    assert not cut


def test_long_pairs_lose_the_oldest_of_their_prompt_on_both_sides_alike(renderer):
    row = {"prompt": "old " * 400 + "new", "chosen": "yes indeed", "rejected": "no"}
    prompt, (chosen, rejected), cut = rendered(to_pair(row, "row"), renderer, 64)
    assert cut
    assert len(prompt) + len(chosen) == 64
    assert "new" in renderer.tokenizer.decode(prompt)
    assert rejected == renderer.response_ids("no")
