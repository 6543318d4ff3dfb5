"""The judge from held-out labels: right about what they hold, absent where they hold nothing."""

import random
from pathlib import Path

import numpy as np
import torch

from backbone.adapters import SharedBase, lora_config
from foundation.files import write_json
from reward_model.evaluation.probe import PairStates
from reward_model.held_out_judge import FILE, fit_held_out_judge, load_held_out_judge
from reward_model.labels.records import Pair
from reward_model.labels.rendering import rendered
from reward_model.reward_folder import FIGURES


def planted(count: int, seed: int, *, coin: bool = False) -> list[Pair]:
    """Pairs whose better response has the cat in it, or either of them."""
    draw, found = random.Random(seed), []
    for number in range(count):
        said = [f"the cat sat {draw.randrange(99)}", f"a dog ran {draw.randrange(99)}"]
        if coin and draw.random() < 0.5:
            said.reverse()
        found.append(Pair(({"role": "user", "content": f"what {seed} {number}"},), *said))
    return found


def differences(base: SharedBase, pairs: list[Pair]) -> np.ndarray:
    states = PairStates.of(base, pairs, 64)
    return states.differences(states.final)


def fit(base: SharedBase, held_out: list[Pair], learned: list[Pair], folder: Path) -> dict[str, float]:
    return fit_held_out_judge(held_out, learned, differences(base, [*held_out, *learned]), folder)


def test_it_is_right_about_what_the_labels_hold_and_scores_ids(base: SharedBase, tmp_path: Path) -> None:
    write_json(tmp_path / FIGURES, {"max_length": 64})
    found = fit(base, planted(40, 1), planted(60, 2), tmp_path)
    assert found["judge_accuracy"] > 0.9
    assert found["judge_accuracy_low"] <= found["judge_accuracy"] <= found["judge_accuracy_high"]
    assert found["judge_n"] == 60
    judge = load_held_out_judge(tmp_path, base)
    assert judge is not None
    fresh = planted(20, 3)
    prompts, responses = [], []
    for pair in fresh:
        prompt, both, _ = rendered(pair, base.renderer, 64)
        prompts += [prompt, prompt]
        responses += both
    scores = judge.score(prompts, responses)
    assert (scores[::2] > scores[1::2]).float().mean() > 0.9
    by_states = torch.from_numpy(differences(base, fresh)).float() @ judge.head
    torch.testing.assert_close(scores[::2] - scores[1::2], by_states, rtol=1e-3, atol=1e-4)


def test_adapters_on_the_base_do_not_reach_it(base: SharedBase, tmp_path: Path) -> None:
    write_json(tmp_path / FIGURES, {"max_length": 64})
    fit(base, planted(40, 1), planted(60, 2), tmp_path)
    judge = load_held_out_judge(tmp_path, base)
    assert judge is not None
    asked = [[1, 5, 6, 8]], [[9, 10, 11]]
    before = judge.score(*asked)
    base.add_adapter("other", lora_config(4, 8, "all-linear"))
    for name, weight in base.parameters("other").items():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    with base.using("other"):
        assert torch.equal(judge.score(*asked), before)


def test_labels_of_chance_make_no_judge(base: SharedBase, tmp_path: Path) -> None:
    made = 0
    for seed in range(10):
        found = fit(base, planted(40, seed, coin=True), planted(60, 99, coin=True), tmp_path)
        made += (tmp_path / FILE).is_file()
        (tmp_path / FILE).unlink(missing_ok=True)
        assert found["judge_accuracy_low"] < 0.6
    assert made <= 2


def test_a_handful_of_pairs_is_not_asked(base: SharedBase, tmp_path: Path) -> None:
    assert fit(base, planted(7, 1), planted(60, 2), tmp_path) == {}
    assert load_held_out_judge(tmp_path, base) is None
