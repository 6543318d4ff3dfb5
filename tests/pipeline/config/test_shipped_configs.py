"""Shipped configurations are found by name, and never in place of a file that exists."""

from pathlib import Path

import pytest

from foundation.errors import UserError
from pipeline.config.config import load_config
from pipeline.config.shipped_configs import CONFIGS, found


@pytest.mark.parametrize(
    ("name", "shipped"),
    [
        ("three_words", "play/three_words.yaml"),
        ("three_words.yaml", "play/three_words.yaml"),
        ("play/three_words.yaml", "play/three_words.yaml"),
        ("configs/play/three_words.yaml", "play/three_words.yaml"),
        ("configs/demo.yaml", "demo.yaml"),
        ("demo", "demo.yaml"),
        ("configs/rewards/bleu_grammar.yaml", "rewards/bleu_grammar.yaml"),
    ],
)
def test_a_shipped_configuration_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, shipped: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert found(Path(name)) == CONFIGS / shipped


def test_a_file_that_exists_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = Path("demo.yaml")
    mine.write_text("seed: 7")
    assert found(mine) == mine
    assert load_config(mine, [], {}).seed == 7


@pytest.mark.parametrize(
    "name", ["nothing.yaml", "elsewhere/demo.yaml", "configs/play/demo.yaml", "../configs/demo.yaml"]
)
def test_what_is_not_shipped_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert found(Path(name)) == Path(name)
    with pytest.raises(UserError, match=r"\.yaml"):
        load_config(Path(name), [], {})
