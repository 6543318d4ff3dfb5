"""What is learned of annotators beside the scores, with free scores in place of a model's."""

import math
import random

import pytest
import torch

from reward_model.labels.encoding import LabelEncoding
from reward_model.labels.label_model import LabelModel
from reward_model.labels.records import OVERALL, Label, Pair, Ranking, Rating
from reward_model.training.collator import LabelCollator

PROMPT = ({"role": "user", "content": "hi"},)


def fitted(labels: list[Label], responses: list[str], steps: int = 300) -> tuple[torch.Tensor, LabelModel]:
    """Scores (responses,) and annotators of the greatest likelihood, scores near 0 favoured, by Adam as in training."""
    encoding = LabelEncoding.of(labels)
    model = LabelModel(encoding, labels, 1)
    example = {
        "prompt_ids": [1],
        "response_ids": [[2]] * len(responses),
        "labels": [encoding.encoded(label, [responses.index(text) for text in label.responses]) for label in labels],
    }
    batch = LabelCollator(0)([example])
    scores = torch.zeros(len(responses), len(encoding.aspects), requires_grad=True)
    slow = [{"params": model.parameters(), "lr": 5e-4}] if list(model.parameters()) else []
    adam = torch.optim.Adam([{"params": [scores], "lr": 0.05}, *slow])
    for _ in range(steps):
        adam.zero_grad()
        (model(scores, batch) + 0.5 * scores.square().sum()).backward()
        adam.step()
    return scores.detach()[:, 0], model


def rated(merits: dict[str, float], bias: float, noise: float, name: str, seed: int) -> list[Label]:
    """Five levels, by an annotator who is this lenient and this unsteady."""
    draw = random.Random(seed)
    return [
        Rating(PROMPT, text, min(5, max(1, round(3 + merit + bias + draw.gauss(0, noise)))), 5, name)
        for text, merit in merits.items()
    ]


def test_a_harsh_and_a_lenient_annotator_agree_on_the_scores():
    texts = [f"text {i}" for i in range(40)]
    merits = {text: 2 * math.sin(i) for i, text in enumerate(texts)}
    first, second = dict(list(merits.items())[:25]), dict(list(merits.items())[15:])
    labels = rated(first, 1.0, 0.3, "lenient", 0) + rated(second, -1.0, 0.3, "harsh", 1)
    scores, model = fitted(labels, texts)
    truth = torch.tensor(list(merits.values()))
    assert torch.corrcoef(torch.stack([scores, truth]))[0, 1] > 0.9
    thresholds, _ = model.thresholds()
    names = [name for _, _, name in model.encoding.raters]
    assert (thresholds[names.index("harsh")] > thresholds[names.index("lenient")] + 0.5).all()
    assert (thresholds.diff(dim=1) > 0).all()
    means = torch.tensor([sum(label.score for label in labels if label.response == text) for text in texts]) * 1.0
    counts = torch.tensor([sum(label.response == text for label in labels) for text in texts])
    pooled = torch.corrcoef(torch.stack([means / counts, truth]))[0, 1]
    assert torch.corrcoef(torch.stack([scores, truth]))[0, 1] > pooled + 0.05, "a plain mean mixes up the two scales"


def test_an_annotator_who_rates_at_random_counts_for_less():
    texts = [f"text {i}" for i in range(40)]
    merits = {text: 2 * math.sin(i) for i, text in enumerate(texts)}
    labels = rated(merits, 0, 0.3, "careful", 0) + rated(merits, 0, 0.5, "steady", 3) + rated(
        dict.fromkeys(texts, 0.0), 0, 1.5, "random", 1
    )  # fmt: skip
    _, model = fitted(labels, texts)
    slopes = dict(zip((name for _, _, name in model.encoding.raters), model.thresholds()[1].tolist(), strict=True))
    assert 5 * slopes["random"] < min(slopes["careful"], slopes["steady"])


def test_the_first_thresholds_are_where_all_scores_are_zero():
    labels: list[Label] = [Rating(PROMPT, f"{i}", 1 + (i >= 30), 2, "ann") for i in range(40)]
    model = LabelModel(LabelEncoding.of(labels), labels, 1)
    thresholds, slopes = model.thresholds()
    assert thresholds.item() == pytest.approx(math.log(30.5 / 10.5), abs=0.15)
    assert slopes.tolist() == [1.0]


def test_scales_of_different_length_do_not_mix():
    labels: list[Label] = [Rating(PROMPT, f"{i}", 1 + i % 5, 5, "ann") for i in range(20)]
    labels += [Rating(PROMPT, f"{i}", 1 + i % 2, 2, "ann") for i in range(20)]
    texts = [f"{i}" for i in range(20)]
    _, model = fitted(labels, texts, steps=20)
    thresholds, _ = model.thresholds()
    assert thresholds.shape == (2, 4)
    assert (thresholds[0, 1:] > 50).all(), "a scale of two levels has one threshold within reach"
    assert (thresholds[1].abs() < 5).all()


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_how_common_ties_are_is_learned(share):
    labels: list[Label] = [Pair(PROMPT, "a", "b", p_chosen=1 - share / 2, p_tie=share, weight=3.0) for _ in range(5)]
    scores, model = fitted(labels, ["a", "b"])
    assert scores[0] > scores[1]
    outcomes = torch.stack([scores[0] - scores[1], model.get_buffer("log_tie") * 2 + 100 * model.tie]) / 2
    win, tie = torch.exp(outcomes.detach())
    loss = torch.exp(-outcomes[0].detach())
    assert float(tie / (win + tie + loss)) == pytest.approx(share, abs=0.12)


def test_without_ties_there_is_nothing_to_learn_of_them():
    labels: list[Label] = [Pair(PROMPT, "a", "b"), Ranking(PROMPT, ("a", "b", "c"), (1, 2, 3))]
    assert list(LabelModel(LabelEncoding.of(labels), labels, 8).parameters()) == []


def test_the_head_of_no_aspect_is_the_mean_of_the_others_if_nothing_was_said_of_it():
    labels: list[Label] = [Rating(PROMPT, "a", 1, 3, "ann", aspect=aspect) for aspect in ("honest", "kind")]
    model = LabelModel(LabelEncoding.of(labels), labels, 2)
    with torch.no_grad():
        model.aspects.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 0.0]]))
    heads = model.heads(torch.zeros(2))
    assert heads[OVERALL].tolist() == [2.0, 1.0]
    assert heads["honest"].tolist() == [1.0, 2.0]
    assert model.heads(torch.ones(2))[OVERALL].tolist() == [1.0, 1.0]


def test_what_length_explains_is_not_left_to_the_score():
    labels: list[Label] = [Pair(PROMPT, "a", "b")]
    example = {"prompt_ids": [1], "response_ids": [[2] * 20, [2] * 5], "labels": []}
    encoding = LabelEncoding.of(labels)
    example["labels"] = [encoding.encoded(labels[0], [0, 1])]
    batch = LabelCollator(0)([example])
    slopes = []
    for effect in (0.0, 1.0):
        scores = torch.zeros(2, 1, requires_grad=True)
        LabelModel(encoding, labels, 1, length_effect=effect)(scores, batch).backward()
        slopes.append(float(scores.grad[0]))
    assert slopes[0] == pytest.approx(-0.5)
    assert slopes[1] == pytest.approx(-1 / (1 + 4.0)), "log 4 of log-odds are the length's"
