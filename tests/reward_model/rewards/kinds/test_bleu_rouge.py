"""BLEU, chrF and ROUGE against references: the libraries' own command lines, several references, other scripts."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import regex

from foundation.errors import UserError
from reward_model.rewards.kinds.bleu_rouge import AnyScript
from reward_model.rewards.registry import build

DATA = Path(__file__).parents[5] / "shared" / "data" / "scitldr_abstract" / "test.jsonl"
ROWS = 60


def value(spec: dict[str, Any], response: str, *references: str) -> float:
    return build(spec)(prompts=[""], completions=[response], references=[list(references)])[0]


def write(path: Path, lines: list[str]) -> str:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def run(*arguments: str) -> str:
    return subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def summaries() -> list[tuple[str, list[str]]]:
    """The first sentence of abstracts, and two or more human summaries of each."""
    if not DATA.is_file():
        pytest.skip(f"{DATA} is not there")
    rows = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]
    tidy = [
        (" ".join(row["source"][0].split()), [" ".join(text.split()) for text in row["target"] if text.strip()])
        for row in rows
    ]
    return [(first, targets) for first, targets in tidy if len(targets) == 3][:ROWS]


@pytest.mark.parametrize(
    ("options", "spec"),
    [
        (["-m", "bleu"], {"name": "bleu"}),
        (["-m", "bleu", "-s", "floor", "-sv", "0.2"], {"name": "bleu", "smoothing": "floor", "smoothing_value": 0.2}),
        (["-m", "chrf"], {"name": "chrf"}),
        (["-m", "chrf", "--chrf-word-order", "2"], {"name": "chrf", "word_order": 2}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bleu_and_chrf_are_what_sacrebleu_prints(
    options: list[str], spec: dict[str, Any], summaries: list[tuple[str, list[str]]], tmp_path: Path
) -> None:
    files = [write(tmp_path / f"reference{n}", [targets[n] for _, targets in summaries]) for n in range(3)]
    responses = write(tmp_path / "responses", [first for first, _ in summaries])
    printed = run("sacrebleu", *files, "-i", responses, *options, "--sentence-level", "-w", "6", "--score-only")
    ours = build(spec)(
        prompts=[""] * len(summaries),
        completions=[first for first, _ in summaries],
        references=[targets for _, targets in summaries],
    )
    theirs = [float(line) / 100 for line in printed.split()]
    assert ours == pytest.approx(theirs, abs=1e-8)
    assert len(set(theirs)) > ROWS / 2


def test_rouge_is_what_its_command_line_prints_for_the_best_reference(
    summaries: list[tuple[str, list[str]]], tmp_path: Path
) -> None:
    pairs = [(row, first, target) for row, (first, targets) in enumerate(summaries) for target in targets]
    out = tmp_path / "scores.csv"
    run(
        "rouge_score.rouge",
        f"--target_filepattern={write(tmp_path / 'targets', [target for _, _, target in pairs])}",
        f"--prediction_filepattern={write(tmp_path / 'responses', [first for _, first, _ in pairs])}",
        f"--output_filename={out}",
        "--aggregate=False",
    )
    printed = list(csv.DictReader(out.read_text().splitlines()))
    for variant in ("rouge1", "rouge2", "rougeL"):
        best = [0.0] * len(summaries)
        for (row, _, _), line in zip(pairs, printed, strict=True):
            best[row] = max(best[row], float(line[f"{variant}-F"]))
        ours = build({"name": "rouge", "variant": variant})(
            prompts=[""] * len(summaries),
            completions=[first for first, _ in summaries],
            references=[targets for _, targets in summaries],
        )
        assert ours == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("name", ["bleu", "chrf", "rouge"])
def test_the_reference_itself_is_worth_one_and_anything_else_less(name: str) -> None:
    assert value({"name": name}, "the cat sat on the mat", "a dog ran", "the cat sat on the mat") == pytest.approx(1)
    assert value({"name": name}, "nothing of that kind", "the cat sat on the mat") < 0.3
    assert value({"name": name}, "", "the cat sat on the mat") == 0


def test_smoothing_changes_sentences_without_a_four_gram() -> None:
    values = {
        smoothing: value({"name": "bleu", "smoothing": smoothing}, "the cat sat here", "the cat sat there")
        for smoothing in ("none", "exp", "floor", "add-k")
    }
    assert values["none"] == 0
    assert len(set(values.values())) == 4


def test_chinese_is_compared_character_by_character() -> None:
    response, reference = "我们在北京吃饭。", "我们在北京吃晚饭。"
    assert value({"name": "bleu"}, response, reference) == value(
        {"name": "bleu", "tokenize": "zh"}, response, reference
    )
    assert value({"name": "bleu", "tokenize": "13a"}, response, reference) == 0  # one long "word", and a wrong one
    # Seven characters of the response, eight of the reference, seven in common and in order.
    assert value({"name": "rouge", "variant": "rougeL"}, response, reference) == pytest.approx(2 * 7 / (7 + 8))
    assert value({"name": "rouge", "tokenize": "latin"}, response, reference) == 0
    assert value({"name": "chrf"}, response, reference) > 0.5


def test_the_references_choose_the_tokenizer_not_the_response() -> None:
    response, reference = "北京 北京 the cat sat on the mat", "the cat sat on the mat"
    assert value({"name": "bleu"}, response, reference) == value(
        {"name": "bleu", "tokenize": "13a"}, response, reference
    )


def test_words_of_other_scripts_are_tokens_of_rouge() -> None:
    assert AnyScript().tokenize("Кошка сидит. 猫が2匹 naïve") == ["кошка", "сидит", "猫", "が", "2", "匹", "naïve"]
    assert value({"name": "rouge", "variant": "rouge1"}, "кошка сидит", "Кошка сидит.") == 1


@pytest.mark.parametrize("name", ["bleu", "chrf", "rouge"])
@pytest.mark.parametrize(
    ("columns", "row"),
    [({}, 1), ({"references": [["a"], []]}, 2), ({"references": [["a"], None]}, 2), ({"references": ["a", ""]}, 2)],
)
def test_a_row_without_references_is_named(name: str, columns: dict[str, Any], row: int) -> None:
    with pytest.raises(UserError, match=regex.escape(f'"{name}" needs references, and row {row} has none. Give every')):
        build({"name": name})(prompts=["p", "q"], completions=["x", "y"], **columns)


def test_too_few_references_are_refused() -> None:
    with pytest.raises(UserError, match="was given 1 references for 2 completions"):
        build({"name": "bleu"})(prompts=["p", "q"], completions=["x", "y"], references=[["a"]])
