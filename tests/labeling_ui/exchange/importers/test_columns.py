"""Tables with columns of their own: the recipes of the documentation, on rows laid out as the published sets are."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from tests.labeling_ui.exchange.importers.taking import PAIRS, RANKING, drafted

COMMANDS = Path(__file__).parents[4] / "docs" / "commands.md"
TABLE = {"prompt": "q", "response_1": "one", "response_2": "two"}
ROWS: dict[str, Any] = {
    "UltraFeedback": {
        "instruction": "q", "source": "x", "models": ["a", "b", "c"],
        "completions": [{"response": text, "overall_score": score, "model": "m"}
                        for text, score in (("one", 6.0), ("two", 8.5), ("three", 6.0))],
    },
    "HelpSteer 2": {**TABLE, "split": "train", "preference_strength": -2, "preference_statement": "One is better."},
    "HelpSteer 3": {
        "domain": "code", "context": [{"role": "user", "content": "q"}], "response1": "one", "response2": "two",
        "overall_preference": 1, "individual_preference": [{"score": -3, "reasoning": "x"}],
    },
    "PKU-SafeRLHF": {
        "prompt": "q", "response_0": "one", "response_1": "two", "better_response_id": 0, "safer_response_id": 1,
        "is_response_0_safe": True,
    },
    "Nectar": {
        "prompt": "\n\nHuman: q\n\nAssistant: ", "turns": 1,
        "answers": [{"answer": text, "rank": rank} for text, rank in (("one", 2), ("two", 1), ("three", 3))],
    },
    "SHP": {"history": "q", "human_ref_A": "one", "human_ref_B": "two", "labels": 0, "score_A": 3, "score_B": 9},
    "WebGPT": {"question": {"full_text": "q", "id": "x"}, "answer_0": "one", "answer_1": "two", "score_0": 0.5,
               "score_1": -0.5},
}  # fmt: skip
MEANT = {
    "UltraFeedback": "two > one = three", "HelpSteer 2": "one2 (One is better.)", "HelpSteer 3": "two1",
    "PKU-SafeRLHF": "one", "Nectar": "two > one > three", "SHP": "two", "WebGPT": "one",
}  # fmt: skip


def recipes() -> dict[str, dict[str, list[str]]]:
    """The mappings that the documentation shows, by set."""
    found = re.findall(r"^\| ([\w -]+) \| `(--map [^`]*)` \|", COMMANDS.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        name: {to: names.split(",") for to, names in re.findall(r"--map (\w+)=(\S+)", options)}
        for name, options in found
    }


@pytest.mark.parametrize("name", ROWS)
def test_the_documented_recipe_of_a_published_set_reads_it(name: str) -> None:
    campaign = RANKING if " > " in MEANT[name] else PAIRS
    votes, refused = drafted("columns", [ROWS[name]], campaign, columns=recipes()[name])
    assert ([vote for _, vote in votes], refused) == ([MEANT[name]], [])


def test_every_recipe_is_tried() -> None:
    assert recipes().keys() == ROWS.keys()


@pytest.mark.parametrize(
    ("decides", "meant"),
    [
        ({"better": "response_2"}, "two"), ({"better": 1}, "one"), ({"better": "B"}, "two"),
        ({"better": "C"}, "refused"),
        ({"better": "tie"}, "tie"), ({"better": "both bad"}, "both_bad"), ({"better": "the longer"}, "refused"),
        ({"first_is_better": "0"}, "two"), ({"first_is_better": 0.3}, "refused"),
        ({"strength": 3}, "two3"), ({"strength": 0}, "tie"), ({"strength": 4}, "refused"), ({"strength": -1.0}, "one1"),
        ({"score_1": 2, "score_2": 2.0}, "tie"), ({"score_1": "2", "score_2": "10"}, "two"),
        ({"score_1": 2}, "refused"),
        ({"ranks": [2, 1]}, "two"), ({"scores": [1]}, "refused"),
        ({"better": "1", "strength": 2}, "refused"), ({}, "refused"),
    ],
)  # fmt: skip
def test_one_column_decides(decides: dict[str, Any], meant: str) -> None:
    votes, refused = drafted("columns", [{**TABLE, **decides}])
    assert [vote for _, vote in votes] + ["refused"] * len(refused) == [meant], refused


def test_a_pair_says_who_judged_it_and_why() -> None:
    row = {**TABLE, "better": "2", "annotator": 0, "rationale": "Shorter."}
    assert drafted("columns", [row])[0] == [("0", "two (Shorter.)")]


def test_of_two_verdicts_one_must_be_named() -> None:
    columns = {"response_1": ["response_0"], "response_2": ["response_1"]}
    _, refused = drafted("columns", [ROWS["PKU-SafeRLHF"]], columns=columns)
    assert "better_response_id, safer_response_id" in refused[0]
    votes, _ = drafted("columns", [ROWS["PKU-SafeRLHF"]], columns=columns | {"better": ["safer_response_id"]})
    assert [vote for _, vote in votes] == ["two"]


def test_numbers_that_count_otherwise_than_the_columns_stop_the_file() -> None:
    rows = [{**TABLE, "prompt": str(number), "better": number} for number in (0, 1)]
    with pytest.raises(UserError, match=r'"better" of .* holds 0, 1, and the responses are response_1, response_2'):
        drafted("columns", rows)


def test_places_in_a_list_count_from_0_or_stop_the_file() -> None:
    rows = [{"prompt": f"q{number}", "responses": ["one", "two"], "better": number} for number in (1, 2)]
    with pytest.raises(UserError, match=r'"better" of .* holds 1, 2, and the responses are 0, 1: .* count from 0'):
        drafted("columns", rows)
    rows = [{**row, "responses": json.dumps(row["responses"]), "better": str(row["better"] - 1)} for row in rows]
    assert [vote for _, vote in drafted("columns", rows)[0]] == ["one", "two"]


def test_a_score_belongs_to_the_response_of_its_number() -> None:
    row = {"prompt": "q", "response_1": "A", "response_2": None, "response_3": "C", "response_4": "D"}
    scores = {"score_1": 1, "score_2": 7, "score_3": 9, "score_4": 5}
    assert drafted("columns", [{**row, **scores}], RANKING)[0] == [("columns (imported)", "C > D > A")]
    columns = {"response_4": ["response_4"], "score_4": ["fourth"]}
    del scores["score_4"]
    votes, _ = drafted("columns", [{**row, **scores, "fourth": 0}], RANKING, columns=columns)
    assert votes == [("columns (imported)", "C > A > D")]


def test_a_missing_label_that_was_printed_is_no_answer() -> None:
    rows = [{**TABLE, "prompt": f"q{label}", "better": label} for label in ("None", "none", "nan")]
    votes, refused = drafted("columns", rows)
    assert [vote for _, vote in votes] == ["both_bad"]
    assert 'leave the cell empty, or write "both bad"' in refused[0]
    assert "names none of the responses" in refused[1]


def test_a_campaign_of_pairs_takes_no_rankings() -> None:
    _, refused = drafted("columns", [ROWS["Nectar"]], Campaign(), columns=recipes()["Nectar"])
    assert "--set label.kind=ranking" in refused[0]
