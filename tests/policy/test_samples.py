"""What the policy wrote, kept over a stop."""

import json
from pathlib import Path

from backbone.sampling_config import SamplingConfig
from policy.samples import SampleLog

ROWS = [{"step": step, "prompt_id": "p", "prompt": "Hi", "response": "one\u2028two\x85three"} for step in (0, 5, 10)]


def test_responses_with_line_separators_are_kept_up_to_the_step_that_training_goes_on_from(tmp_path: Path) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    (tmp_path / "samples.jsonl").write_text(lines + '{"step": 15, "resp', encoding="utf-8")
    SampleLog(tmp_path, [{"id": "p", "prompt": "Hi"}], SamplingConfig(), seed=0).go_on(5)
    kept = (tmp_path / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in kept] == ROWS[:2]
