"""RewardBench's scoring code gives our scores, on the merged folder and on the reward folder.

Its package asks for transformers 4.51, which other people's models in it need. So only the modules that render and
score are imported here, without the package around them, and used as its command `rewardbench` does. That moves all
inputs to a GPU, whatever there is: here they stay on the CPU.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BatchEncoding

from tests.clients.ten_pairs import PAIRS, by_rlhf

pytest.importorskip("fastchat", reason="`make clients` installs it")
pytestmark = pytest.mark.filterwarnings("ignore")  # another program's own affair
WHOLE = find_spec("rewardbench")
assert WHOLE is not None
assert WHOLE.submodule_search_locations


@pytest.fixture
def rewardbench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Its modules `utils` and `models.pipeline`, under empty packages of their names."""
    for name in ("rewardbench", "rewardbench.models"):
        package: Any = ModuleType(name)
        package.__path__ = [str(Path(WHOLE.submodule_search_locations[0], *name.split(".")[1:]))]
        package.REWARD_MODEL_CONFIG = {}
        monkeypatch.setitem(sys.modules, name, package)
    for name in ("rewardbench.utils", "rewardbench.models.pipeline"):
        monkeypatch.setitem(sys.modules, name, import_module(name))
    if not torch.cuda.is_available():
        monkeypatch.setattr(BatchEncoding, "to", lambda self, device: self)
    return sys.modules


@pytest.mark.parametrize("which", ["merged", "reward"])
def test_rewardbench_scores_as_we_do(
    which: str, rewardbench: Any, reward: Path, merged_reward: Path, tmp_path: Path
) -> None:
    folder = merged_reward if which == "merged" else reward
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "left"
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    model = model.to("cuda") if torch.cuda.is_available() else model
    pipe = rewardbench["rewardbench.models.pipeline"].RewardBenchPipeline("text-classification", model, tokenizer)
    rows = [
        {"prompt": pair["prompt"], **{side: pair[side][0]["content"] for side in ("chosen", "rejected")}}
        for pair in PAIRS
    ]
    utils = rewardbench["rewardbench.utils"]
    assert utils.check_tokenizer_chat_template(tokenizer)
    texts = [utils.prepare_dialogue_from_tokenizer(row, tokenizer) for row in rows]
    options = {"batch_size": 10, "truncation": False, "padding": True, "max_length": 2048}
    sides = [pipe([text[f"text_{side}"] for text in texts], **options)[:, 0] for side in ("chosen", "rejected")]
    torch.testing.assert_close(torch.stack(sides, 1).flatten().cpu(), by_rlhf(reward, tmp_path), atol=1e-4, rtol=0)
