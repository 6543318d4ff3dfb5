"""The real training on labels of every kind, and when it stops."""

import json
import random
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from backbone.exactness import load_shared_base
from reward_model.labels.comparisons import comparisons
from reward_model.labels.reading import to_labels
from reward_model.labels.records import Pair
from reward_model.score_head import ASPECTS
from reward_model.scorer import RewardScorer
from reward_model.training.train import train_reward
from tests.reward_model.conftest import CONFIG
from tests.reward_model.planted import WORDS, planted

CPU: dict[str, Any] = {"dtype": "float32", "device": "cpu"}
BEST, MIDDLE, WORST = "good good", "good bad", "bad bad"


def judged(kind: str, prompts: int, seed: int = 0) -> list[dict[str, Any]]:
    """Three responses to each prompt, of which the one that says "good" more often is better, judged in this way."""
    draw = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for number in range(prompts):
        prompt = f"{number}: {' '.join(draw.choices(WORDS, k=3))}"
        start = " ".join(draw.choices(WORDS, k=2))
        responses = [f"{start} {end}" for end in (BEST, MIDDLE, WORST)]
        if kind == "rankings":
            rows.append({"prompt": prompt, "responses": responses, "ranks": [1, 2, 3]})
        elif kind == "pairs":
            rows += [{"prompt": prompt, "chosen": a, "rejected": b} for a, b in combinations(responses, 2)]
        else:
            annotator = draw.choice(["harsh", "lenient"])
            scores = [3, 2, 1] if annotator == "harsh" else [5, 4, 3]
            rows += [
                {
                    "prompt": prompt,
                    "response": text,
                    "score": score,
                    "scale": 5,
                    "annotator": annotator,
                    "aspect": aspect,
                }
                for text, score in zip(responses, scores, strict=True)
                for aspect in ("helpful", "short")
            ]
    return rows


def scores_of(folder: Path, tiny_model: Path) -> torch.Tensor:
    """By the trained model, scores of best, middle and worst to new prompts: (prompts, 3)."""
    scorer = RewardScorer.load(folder, load_shared_base(str(tiny_model), **CPU))
    renderer = scorer.base.renderer
    prompts = [renderer.prompt_ids([{"role": "user", "content": f"a {word}"}]) for word in WORDS for _ in range(3)]
    said = [renderer.response_ids(f"the cat {end}") for _ in WORDS for end in (BEST, MIDDLE, WORST)]
    assert scorer.aspect_scores(prompts, said).keys() == scorer.aspects.keys()
    return scorer.score(prompts, said).view(-1, 3)


@pytest.mark.parametrize("kind", ["rankings", "ratings"])
def test_rankings_or_ratings_alone_recover_the_order(kind, tiny_model, tmp_path):
    figures = train_reward(CONFIG, str(tiny_model), judged(kind, 80), tmp_path, **CPU)
    assert figures["accuracy_low"] > 0.7
    assert figures[f"training_{kind}"] > 40
    assert figures["training_pairs"] == 0
    scores = scores_of(tmp_path, tiny_model).mean(0)
    assert scores[0] > scores[1] > scores[2]
    heads = load_file(tmp_path / ASPECTS) if (tmp_path / ASPECTS).exists() else {}
    assert sorted(heads) == (["helpful", "short"] if kind == "ratings" else [])
    assert json.loads((tmp_path / "reward.json").read_text())["aspects"] == sorted(heads)


def test_a_mixture_of_every_kind_is_learned_in_one_run(tiny_model, tmp_path):
    tied = [
        {"prompt": f"{n}: which", "chosen": f"the {BEST}", "rejected": f"a {BEST}", "p_chosen": 0.5, "p_tie": 1.0}
        for n in range(20)
    ]
    rated = [{**row, "aspect": "overall"} for row in judged("ratings", 30, seed=2) if row["aspect"] == "helpful"]
    rows = judged("pairs", 30) + judged("rankings", 30, seed=1) + rated + tied
    figures = train_reward(CONFIG, str(tiny_model), rows, tmp_path, **CPU)
    assert figures["accuracy_low"] > 0.6
    assert all(figures[f"training_{kind}"] > 5 for kind in ("pairs", "ties", "rankings", "ratings"))
    scores = scores_of(tmp_path, tiny_model).mean(0)
    assert scores[0] > scores[1] > scores[2]


def test_weights_keep_bad_annotators_from_being_learned(tiny_model, tmp_path):
    right = planted(60, seed=1)
    wrong = [
        {**row, "chosen": row["rejected"], "rejected": row["chosen"], "weight": 0.05}
        for seed in (2, 3)
        for row in planted(60, seed=seed)
    ]
    clean = [{**row, "prompt": f"clean {number}"} for number, row in enumerate(planted(30, seed=4))]
    accuracies = [
        train_reward(config, str(tiny_model), right + wrong, tmp_path / str(i), held_out=clean, **CPU)["accuracy"]
        for i, config in enumerate((CONFIG, CONFIG.model_copy(update={"weights": False})))
    ]
    assert accuracies[0] > 0.9
    assert accuracies[1] < 0.1


def test_what_length_explains_is_kept_out_of_the_score(tiny_model, tmp_path):
    """Annotators who prefer the longer response for its length teach length, unless told that they do."""
    draw = random.Random(0)
    rows = [
        {
            "prompt": f"{number}: go",
            "chosen": " ".join(draw.choices(WORDS, k=draw.randint(9, 12))),
            "rejected": " ".join(draw.choices(WORDS, k=draw.randint(2, 5))),
        }
        for number in range(80)
    ]
    gaps = []
    for debias in (0.0, 1.0):
        config = CONFIG.model_copy(update={"length_debias": debias, "epochs": 1.0})
        figures = train_reward(config, str(tiny_model), rows, tmp_path / str(debias), **CPU)
        scorer = RewardScorer.load(tmp_path / str(debias), load_shared_base(str(tiny_model), **CPU))
        ids = [scorer.base.renderer.response_ids(" ".join(["the cat"] * n)) for n in (6, 1)]
        long, short = scorer.score([scorer.base.renderer.prompt_ids([{"role": "user", "content": "go"}])] * 2, ids)
        gaps.append(float(long - short))
        assert (figures["length_effect"] > 1) == (debias > 0)
    assert gaps[0] > 0.05
    assert abs(gaps[1]) < gaps[0] / 4


def test_training_stops_when_validation_labels_get_no_likelier_and_keeps_the_best(tiny_model, tmp_path):
    draw = random.Random(0)
    rows = planted(60)
    for row in rows:  # a coin decides: whatever is learned is over-fitted
        if draw.random() < 0.5:
            row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
    update = {"patience": 3, "epochs": 20, "validation": 0.3, "checkpoint_every": 5, "learning_rate": 2e-2}
    config = CONFIG.model_copy(update=update)

    class Killed(Exception):
        pass

    def killed(row: Any) -> None:
        if row["step"] == 6:  # after one checkpoint, in the second epoch
            raise Killed

    with pytest.raises(Killed):
        train_reward(config, str(tiny_model), rows, tmp_path / "killed", on_step=killed, **CPU)
    for name in ("killed", "straight"):
        train_reward(config, str(tiny_model), rows, tmp_path / name, **CPU)
    here, there = (json.loads((tmp_path / name / "reward.json").read_text()) for name in ("killed", "straight"))
    assert here["checks"] == there["checks"]
    losses = dict(here["checks"])
    steps = list(losses)
    assert here["steps"] == steps[-1] < 20 * 4
    assert losses[here["best_step"]] == min(losses.values())
    assert steps.index(here["best_step"]) == len(steps) - 4
    weights = [load_file(tmp_path / name / "adapter_model.safetensors") for name in ("killed", "straight")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])


def test_what_labels_say_of_two_responses():
    rows: list[dict[str, Any]] = [
        {"prompt": "p", "chosen": "a", "rejected": "b", "p_chosen": 0.25, "margin": 0.5},
        {"prompt": "p", "chosen": "a", "rejected": "c", "p_chosen": 0.5},
        {"prompt": "q", "responses": ["a", "b", "c"], "ranks": [2, 1, 2], "weight": 3.0},
        {"prompt": "r", "response": "a", "score": 5, "scale": 5, "annotator": "lenient"},
        {"prompt": "r", "response": "b", "score": 2, "scale": 5, "annotator": "harsh"},
        {"prompt": "s", "response": "a", "score": 4, "scale": 5, "annotator": "lenient"},
        {"prompt": "s", "response": "b", "score": 1, "scale": 5, "annotator": "harsh"},
        {"prompt": "s", "response": "c", "score": 1, "scale": 5, "annotator": "lenient"},
    ]
    found = comparisons(to_labels(rows))
    prompt = ({"role": "user", "content": "p"},)
    assert found[0] == Pair(prompt, "b", "a", margin=-0.5, p_chosen=0.75)
    assert [(pair.chosen, pair.rejected, pair.weight) for pair in found[1:3]] == [("b", "a", 1.0), ("b", "c", 1.0)]
    rated = {(pair.prompt[0]["content"], pair.chosen, pair.rejected) for pair in found[3:]}
    assert ("s", "a", "c") in rated
    assert ("s", "b", "c") in rated, "a 1 by who is harsh is not a 1 by who is lenient"
