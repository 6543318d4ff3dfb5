import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from backbone.adapters import SharedBase
from foundation.errors import UserError
from policy.export import CARD, export_adapter, merge
from policy.model_card import load_snippet, model_card
from tests.shared_base import add_random_adapter, load, logits

IDS = [1, 5, 6, 7, 200, 9, 2]

WITHOUT_US = f"""
import sys
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
model = PeftModel.from_pretrained(model, sys.argv[2]).eval()
with torch.no_grad():
    torch.save(model(torch.tensor([{IDS}])).logits[0], sys.argv[3])
assert not {"pipeline", "policy", "backbone", "foundation"} & sys.modules.keys()
"""


def _card(model: str, adapter: str, **changes: Any) -> str:
    arguments: dict[str, Any] = {
        "base": model,
        "license": "apache-2.0",
        "snippet": load_snippet(model, adapter),
        "labels": {"judgements": 50, "simulated_judgements": 20, "pairs": 37},
        "evaluation": {
            "sampled": {"win_rates": {"score": {"win_rate": 0.75, "low": 0.625, "high": 0.875, "n": 64}}},
            "mean_kl": 3.14159,
            "distinct2_ratio": 0.97,
        },
        "reward": {"accuracy": 0.7, "longer_wins": None, "bag_of_words": 0.6},
        "settings": {"policy.steps": 100},
        "provenance": {"label set": "f00dcafe"},
    }
    return model_card(**(arguments | changes))


def _python(folder: Path, code: str, *arguments: str) -> str:
    """Run code where this project cannot be imported by accident."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def exported(base: SharedBase, tiny_model: Path, tmp_path: Path) -> Path:
    """An exported adapter that is far from zero."""
    add_random_adapter(base, "policy", trainable=True)
    base.save_adapter("policy", tmp_path / "policy")
    folder = tmp_path / "export"
    folder.mkdir()
    export_adapter(tmp_path / "policy", base.tokenizer, folder, _card(str(tiny_model), str(folder)))
    return folder


def test_the_export_gives_the_same_logits_without_this_project(
    base: SharedBase, exported: Path, tiny_model: Path, tmp_path: Path
) -> None:
    _python(tmp_path, WITHOUT_US, str(tiny_model), str(exported), str(tmp_path / "logits.pt"))
    with base.using("policy"):
        ours = logits(base, IDS)
    torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), ours, atol=1e-5, rtol=0)
    assert (ours - logits(base, IDS)).abs().max() > 0.01


def test_the_export_holds_what_a_user_needs(exported: Path) -> None:
    assert {path.name for path in exported.iterdir()} >= {
        "adapter_model.safetensors",
        "adapter_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "README.md",
    }


def test_the_snippet_in_the_card_runs(exported: Path, tmp_path: Path) -> None:
    snippet = (exported / CARD).read_text().split("```python\n")[1].split("```")[0]
    out = _python(
        tmp_path,
        snippet + "\nimport sys\nassert not {'pipeline', 'policy', 'backbone', 'foundation'} & sys.modules.keys()\n",
    )
    assert out.strip()


def test_a_merged_model_gives_the_same_logits(base: SharedBase, exported: Path, tmp_path: Path) -> None:
    merge(exported, tmp_path / "merged")
    merged = load(tmp_path / "merged")
    with base.using("policy"):
        torch.testing.assert_close(logits(merged, IDS), logits(base, IDS), atol=1e-4, rtol=0)
    chat = [{"role": "user", "content": "the cat"}]
    assert merged.renderer.prompt_ids(chat) == base.renderer.prompt_ids(chat)


def test_what_is_no_adapter_is_not_exported(base: SharedBase, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not an adapter folder"):
        export_adapter(tmp_path, base.tokenizer, tmp_path / "export", "")
    assert not (tmp_path / "export").exists()


def _tables(card: str) -> list[list[str]]:
    """Table rows as lists of cells; an escaped bar is no border."""
    rows = [line for line in card.splitlines() if line.startswith("|")]
    return [row.replace("\\|", "/").strip("|").split("|") for row in rows]


def test_the_card_tells_what_it_was_made_from() -> None:
    card = _card("org/base", "exports/mine")
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["base_model"] == "org/base"
    assert front["license"] == "apache-2.0"
    assert front["library_name"] == "peft"
    assert "**20 of 50 judgements came from simulated annotators**" in card
    cells = {row[0].strip(): row[1].strip() for row in _tables(card)}
    assert cells["judgements by people"] == "30"
    assert cells["judgements by simulated annotators"] == "20"
    assert cells["preference pairs"] == "37"
    assert cells["label set"] == "`f00dcafe`"
    assert cells["policy.steps"] == "100"
    assert cells["KL to the base, nats per response"] == "3.142"
    assert cells["of these, longer response wins"] == "not measured"
    rate = cells["win rate against the base, sampled, by score"]
    assert rate == "75.0% (95% interval 62.5% to 87.5%, 64 held-out prompts)"
    assert load_snippet("org/base", "exports/mine") in card


def test_without_simulated_judgements_the_card_does_not_speak_of_them() -> None:
    card = _card("org/base", "mine", labels={"judgements": 50, "simulated_judgements": 0, "pairs": 37})
    assert "came from simulated" not in card


@pytest.mark.parametrize(
    "nasty", ["a|b|c", "a\n# Heading\n| x | y |", "a\r| x | y |", "a\u2028| x |", "<script>alert(1)</script>", "`|`"]
)
def test_no_setting_can_break_the_table(nasty: str) -> None:
    plain = _card("org/base", "mine")
    card = _card("org/base", "mine", settings={"policy.steps": nasty}, provenance={"label set": nasty})
    assert len(card.splitlines()) == len(plain.splitlines())
    assert [len(row) for row in _tables(card)] == [2] * len(_tables(plain))
    assert "<script" not in card


@pytest.mark.parametrize("base_name", ["org/base", "a: b #c", "- x", "folder\\new", 'with "quotes"'])
def test_any_base_name_leaves_the_front_matter_whole(base_name: str) -> None:
    assert yaml.safe_load(_card(base_name, "mine").split("---\n")[1])["base_model"] == base_name
