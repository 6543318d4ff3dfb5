"""What the policy writes while it is tuned, in `samples.jsonl`: responses to a few prompts at each checkpoint.

A score tells that something changed; these tell what. They lie in the policy's folder and are no part of an exported
adapter. The prompts are held out: nothing is learned from them.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backbone.adapters import SharedBase
from backbone.sampling import sample
from backbone.sampling_config import SamplingConfig
from foundation.files import json_line, write_jsonl
from policy.training_log import SAMPLES


class SampleLog:
    """The samples in `folder`; `watched` are rows of prompts.jsonl. The random streams are the same at every step."""

    def __init__(self, folder: Path, watched: Sequence[Mapping[str, Any]], sampling: SamplingConfig, seed: int) -> None:
        self._path, self._watched, self._sampling, self._seed = folder / SAMPLES, watched, sampling, seed

    def go_on(self, step: int) -> None:
        """Keep what was written up to `step`, from where training goes on."""
        kept = []
        if self._path.is_file():
            for line in self._path.read_text(encoding="utf-8").split("\n"):
                if not line.endswith("}") or (row := json.loads(line))["step"] > step:
                    break  # a line that a kill cut short, or what is about to be written again
                kept.append(row)
        if self._watched:
            write_jsonl(self._path, kept)

    def add(self, base: SharedBase, adapter: str, step: int) -> None:
        """Sample the responses after `step` steps, and append a row of each."""
        asked = [base.renderer.prompt_ids(row["prompt"]) for row in self._watched]
        with base.using(adapter):
            drawn = sample(base, asked, self._sampling, seed=self._seed) if asked else []
        rows = [
            {"step": step, "prompt_id": row["id"], "prompt": row["prompt"],
             "response": base.renderer.text(one.response_ids), "finish_reason": one.finish_reason}
            for row, one in zip(self._watched, drawn, strict=True)
        ]  # fmt: skip
        if rows:
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(json_line(row) for row in rows)
