"""A base model without a chat template, as GPT-2 is: it continues prompts that are strings, in every stage."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from backbone.exactness import load_shared_base
from backbone.templates.plain_text import saved_choice
from foundation.files import write_jsonl
from pipeline import stages, tools
from reward_model.scorer import RewardScorer
from tests.conftest import make_tiny_gpt2
from tests.pipeline import tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_gpt2(tmp_path_factory.mktemp("gpt2"))


@pytest.fixture(scope="module")
def run(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished run on strings, and what it printed."""
    folder = tmp_path_factory.mktemp("plain")
    write_jsonl(folder / "prompts.jsonl", [{"prompt": f"the {topic} sat"} for topic in tiny.TOPICS])
    short = ["policy.steps=1", "reward.lora_rank=2", "collect.limit=8", "evaluate.prompts=2"]
    opened = tiny.opened(folder / "run", [*tiny.settings(model, folder / "prompts.jsonl"), *short])
    stages.loop(*opened, simulated=True)
    return folder / "run" / "round-000", tiny.printed(opened[2])


def test_strings_become_prompts_and_their_continuations_keep_their_white_space(
    run: tuple[Path, str], model: Path
) -> None:
    folder, printed = run
    assert "has no chat template: it continues prompts as plain text" in printed
    rows = tiny.rows(folder / "candidates.jsonl")
    assert all(row["prompt"][0]["content"].startswith("the ") and len(row["prompt"]) == 1 for row in rows)
    renderer = load_shared_base(str(model), "float32", "cpu").renderer
    assert renderer.tokenizer.decode(renderer.prompt_ids(rows[0]["prompt"])) == rows[0]["prompt"][0]["content"]
    assert any(row["response"] != row["response"].strip() for row in rows)


def test_what_is_saved_says_that_it_is_plain_text(run: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = run
    for made in ("reward", "export"):
        assert saved_choice(folder / made) == "plain"
        tools.merge(folder / made, tmp_path / made)
        assert saved_choice(tmp_path / made) == "plain"
    assert RewardScorer.load(folder / "reward", dtype="float32", device="cpu").base.renderer.plain


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False")  # PEFT's word on any adapter of GPT-2
def test_the_lines_on_the_card_prompt_with_a_text(
    run: tuple[Path, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, printed = run
    card = (folder / "export" / "README.md").read_text()
    lines = card.split("```python\n")[1].split("```")[0]
    assert 'tokenizer("Once upon a time"' in lines
    assert "apply_chat_template" not in lines
    assert 'tokenizer("Once upon a time"' in printed
    monkeypatch.chdir(folder / "export")  # the card stands beside the adapter
    exec(lines, {})
    assert capsys.readouterr().out


def test_a_reward_model_of_plain_text_scores_strings(run: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = run
    _, config, console = tiny.opened(tmp_path / "unused", ["dtype=float32", "device=cpu"])
    rows, scored = tmp_path / "rows.jsonl", tmp_path / "scored.jsonl"
    write_jsonl(rows, [{"prompt": prompt, "response": " sat"} for prompt in ("the cat", tiny.ask("the cat"))])
    tools.score(config, console, reward_folder=folder / "reward", file=rows, out=scored)
    one, other = tiny.rows(scored)
    assert one["score"] == pytest.approx(other["score"], abs=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(folder / "reward")
    said = [*tiny.ask("the cat"), {"role": "assistant", "content": " sat"}]
    assert tokenizer.apply_chat_template(said, tokenize=False) == "the cat sat<|endoftext|>"


def test_a_chat_model_continues_plain_text_where_that_is_asked_for(tiny_model: Path) -> None:
    base = load_shared_base(str(tiny_model), "float32", "cpu", "plain")
    assert base.tokenizer.decode(base.renderer.prompt_ids(tiny.ask("the cat"))) == "the cat"
