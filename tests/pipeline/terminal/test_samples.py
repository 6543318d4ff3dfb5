from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from foundation.files import write_jsonl
from pipeline.terminal.samples import sample_lines
from policy.training_log import SAMPLES


def row(step: int, response: str, prompt: str = "Say [bold]hi") -> dict[str, Any]:
    asked = [{"role": "user", "content": prompt}]
    return {"step": step, "prompt_id": prompt, "prompt": asked, "response": response, "finish_reason": "length"}


def round_with(path: Path, folder: str, *rows: dict[str, Any]) -> Path:
    (path / folder).mkdir()
    write_jsonl(path / folder / SAMPLES, rows)
    return path


def test_each_prompt_is_followed_by_its_responses_step_by_step(tmp_path: Path) -> None:
    folder = round_with(tmp_path, "policy", row(0, "one"), row(0, "two", "b"), row(10, "three"), row(10, "four", "b"))
    assert list(sample_lines(folder, None)) == [
        "", "user: Say [bold]hi", "  step 0: one [cut off]", "  step 10: three [cut off]",
        "", "user: b", "  step 0: two [cut off]", "  step 10: four [cut off]",
    ]  # fmt: skip
    assert [line for line in sample_lines(folder, 10) if "step" in line] == [
        "  step 10: three [cut off]", "  step 10: four [cut off]",
    ]  # fmt: skip


def test_responses_cannot_control_the_terminal(tmp_path: Path) -> None:
    folder = round_with(tmp_path, "policy", row(0, "a\x1b[2J\nuser: b\u202ec"))
    assert list(sample_lines(folder, None))[-1] == "  step 0: a?[2J user: b?c [cut off]"


def test_samples_are_shown_while_the_policy_is_tuned(tmp_path: Path) -> None:
    folder = round_with(tmp_path, ".policy.partial", row(0, "now"))
    assert "now" in list(sample_lines(folder, None))[-1]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    folder = round_with(tmp_path, "policy", row(0, "one"), row(10, "two"))
    with pytest.raises(UserError, match="no samples of step 5: there are those of 0, 10"):
        list(sample_lines(folder, 5))
    with pytest.raises(UserError, match="has no samples of a policy"):
        list(sample_lines(tmp_path / "round-001", None))
