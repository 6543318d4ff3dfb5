"""What counts as a loss of capability, and that a planted one is seen."""

from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig
from scipy import stats

from backbone.adapters import SharedBase
from backbone.exactness import load_shared_base
from foundation.files import read_rows
from pipeline.evaluation.capability import CANDIDATE, CHAMPION, GENERAL, is_sound, likelihood
from pipeline.evaluation.statistics import mean_interval


@pytest.fixture
def base(tiny_model: Path) -> SharedBase:
    return load_shared_base(str(tiny_model), "float32", "cpu")


def test_a_response_is_sound_if_it_ends_says_something_and_does_not_loop() -> None:
    assert is_sound("Boil it for eight minutes. Then cool it.", "stop")
    assert not is_sound("Boil it for eight", "length")
    assert not is_sound(" \n", "stop")
    assert not is_sound("Boil it well. Boil it well. Boil it well. ", "stop")
    assert is_sound("no no no", "stop"), "what is short may be meant"


def test_an_adapter_that_forgot_general_text_loses_likelihood(base: SharedBase) -> None:
    base.add_adapter(CANDIDATE, LoraConfig(r=4, target_modules=["lm_head"]))
    texts = [row["text"] for row in read_rows(GENERAL)]
    who = {CHAMPION: None, CANDIDATE: CANDIDATE}
    same = likelihood(base, who, texts)
    assert same["difference"] == same["low"] == same["high"] == 0
    torch.manual_seed(0)
    for parameter in base.parameters(CANDIDATE).values():
        parameter.data.normal_()
    lost = likelihood(base, who, texts)
    assert lost["high"] < -0.1
    assert lost[CHAMPION] == same[CHAMPION]
    assert lost["difference"] == pytest.approx(lost[CANDIDATE] - lost[CHAMPION])


def test_the_interval_of_a_mean_is_students() -> None:
    values = np.array([0.1, -0.2, 0.4, 0.0])
    low, high = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    assert mean_interval(values) == pytest.approx((low, high))
    assert mean_interval(values[:1]) == (-np.inf, np.inf)


def test_the_general_text_is_forty_different_paragraphs() -> None:
    assert len({row["text"] for row in read_rows(GENERAL)}) == 40
