import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from transformers import AutoTokenizer, GenerationConfig

from backbone.adapters import SharedBase
from backbone.loading.model_folder import DEMO_HUB_ID, DEMO_MODEL
from foundation.errors import UserError
from policy.export import CARD, export_adapter, merge
from policy.model_card import load_snippet, model_card
from tests.hub_cache import cached_as, python_with
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
            "sampled": {
                "win_rates": {"score": {"win_rate": 0.75, "low": 0.625, "high": 0.875, "n": 64}},
                "measures": {"base": {"words": 40.0}, "policy": {"words": 30.0}},
            },
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


BY_OTHERS = """
import sys
import torch
from peft import AutoPeftModelForCausalLM
from transformers import pipeline

ask = [{"role": "user", "content": "the cat"}]
settings = {"max_new_tokens": 8, "do_sample": False}
model = AutoPeftModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
with torch.no_grad():
    torch.save(model(torch.tensor([IDS])).logits[0], sys.argv[2])
written = pipeline("text-generation", model=sys.argv[1], dtype=torch.float32)
print(repr(written(ask, **settings)[0]["generated_text"][-1]["content"]))
"""


@pytest.mark.parametrize("name", ["hub id", "folder"])
def test_standard_loaders_find_the_base_from_another_folder(
    name: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLHF_MODELS", "models")
    model = shutil.copytree(tiny_model, Path("models", DEMO_MODEL) if name == "hub id" else Path("mine"))
    if name == "hub id":
        cached_as(DEMO_HUB_ID, model, tmp_path / "elsewhere")
    base = load(model)
    add_random_adapter(base, "policy", trainable=True)
    base.save_adapter("policy", tmp_path / "policy")
    (tmp_path / "export").mkdir()
    export_adapter(tmp_path / "policy", base.tokenizer, tmp_path / "export", "")
    (tmp_path / "elsewhere").mkdir(exist_ok=True)
    code = BY_OTHERS.replace("IDS", str(IDS))
    python_with(tmp_path / "elsewhere", code, str(tmp_path / "export"), str(tmp_path / "logits.pt"))
    with base.using("policy"):
        torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), logits(base, IDS), atol=1e-5, rtol=0)


def test_a_merged_model_gives_the_same_logits(base: SharedBase, exported: Path, tmp_path: Path) -> None:
    merge(exported, tmp_path / "merged")
    merged = load(tmp_path / "merged")
    with base.using("policy"):
        torch.testing.assert_close(logits(merged, IDS), logits(base, IDS), atol=1e-4, rtol=0)
    assert {path.stat().st_mode for path in (tmp_path / "merged").iterdir()} == {(exported / CARD).stat().st_mode}
    chat = [{"role": "user", "content": "the cat"}]
    assert merged.renderer.prompt_ids(chat) == base.renderer.prompt_ids(chat)


def test_the_merged_model_has_a_card_of_its_own_whose_lines_run(exported: Path, tmp_path: Path) -> None:
    merge(exported, tmp_path / "merged", dtype="bfloat16")
    card = (tmp_path / "merged" / CARD).read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert (front["library_name"], front["tags"], front["license"]) == ("transformers", ["rlhf"], "apache-2.0")
    assert "rounded to bfloat16" in card
    assert "**No person has judged this adapter.**" in card
    assert "20 of 50 judgements came from simulated annotators" in card
    assert "peft" not in card.lower().replace("it needs no peft", "")
    snippet = card.split("```python\n")[1].split("```")[0]
    assert _python(tmp_path, snippet.replace("path/to/this/folder", "merged")).strip()
    (exported / CARD).write_text("Somebody else's card, with no lines to load it.")
    merge(exported, tmp_path / "again", dtype="float32")
    short = (tmp_path / "again" / CARD).read_text()
    assert "# Merged model" in short
    assert "rounded" not in short


def test_a_full_disk_leaves_nothing_of_a_merged_model(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("policy.export.write_merged_card", full)
    with pytest.raises(UserError, match=r"No space left on device.*Nothing was written"):
        merge(exported, tmp_path / "merged")
    assert {path.name for path in tmp_path.iterdir()} == {"policy", "export"}


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


def test_the_hub_is_told_what_people_said_before_what_programs_did() -> None:
    results = ModelCard(_card("org/base", "mine", verdict=VERDICT)).data.eval_results
    assert [(each.metric_name, each.metric_value) for each in results] == [
        ("win rate against base, by people", 0.7),
        ("win rate against the base, sampled, by score", 0.75),
    ]
    simulated = ModelCard(_card("org/base", "mine", verdict=VERDICT | {"by": "simulated"})).data.eval_results
    assert simulated[0].metric_name == "win rate against base, by simulated annotators"


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


@pytest.mark.parametrize("base_name", ["/a/b", "a: b #c", "- x", "folder\\new", 'with "quotes"', "x\n---\ny"])
def test_a_base_that_is_no_hub_id_is_named_in_the_text_alone(base_name: str) -> None:
    front = yaml.safe_load(_card(base_name, "mine").split("---\n")[1])
    assert "base_model" not in front
    assert front["license"] == "apache-2.0"
    assert f"`{' '.join(base_name.split())}`" in _card(base_name, "mine")


VERDICT = {
    "champion": {"name": "base"}, "outcome": "better", "by": "people", "judgements": 47, "prompts": 45, "win_rate": 0.7,
    "interval": [0.56, 0.81],
}  # fmt: skip


@pytest.mark.parametrize(
    ("verdict", "told"),
    [
        (
            VERDICT,
            "**Compared blind with base by people: better.** On held-out prompts: win rate 70.0% (95% interval 56.0% "
            "to 81.0%), 47 judgements of 45 prompts.",
        ),
        (
            VERDICT | {"by": "simulated"},
            "**Compared blind with base by simulated annotators, and by no person: better.**",
        ),
        (VERDICT | {"outcome": "undecided", "win_rate": None}, "undecided.** On held-out prompts: 47 judgements"),
        (None, "**No person has judged this adapter.**"),
    ],
)
def test_the_card_says_first_who_judged_the_adapter(verdict: dict[str, Any] | None, told: str) -> None:
    card = _card("base", "adapter", verdict=verdict, told=["Its weights are zero."])
    assert told in card
    assert card.index(told) < card.index("judgements came from simulated") < card.index("Its weights are zero.")


def test_a_merged_model_stops_where_its_template_ends_a_turn(exported: Path, tiny_model: Path, tmp_path: Path) -> None:
    """As with base models that have a chat template: their own settings know the end of a text alone."""
    other = shutil.copytree(tiny_model, tmp_path / "other")
    tokenizer = AutoTokenizer.from_pretrained(other, eos_token="<|endoftext|>")
    tokenizer.save_pretrained(other)
    settings = {"eos_token_id": tokenizer.eos_token_id, "temperature": 0.6, "do_sample": False}
    (other / "generation_config.json").write_text(json.dumps(settings))
    merge(exported, tmp_path / "merged", str(other))
    written = GenerationConfig.from_pretrained(tmp_path / "merged")
    assert (written.temperature, written.do_sample) == (0.6, False)
    assert set(written.eos_token_id) == set(tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"]))
