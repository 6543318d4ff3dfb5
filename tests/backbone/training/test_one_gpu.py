from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments

from backbone.training.one_gpu import on_one_gpu


def test_a_process_that_sees_several_gpus_trains_on_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)  # there is none here
    given = TrainingArguments(str(tmp_path))
    assert given.n_gpu == 4
    assert on_one_gpu(given).n_gpu == 1
    assert on_one_gpu(TrainingArguments(str(tmp_path), use_cpu=True)).n_gpu == 0
    assert on_one_gpu(given, torch.device("meta")).device == torch.device("meta")
