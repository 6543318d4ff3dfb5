"""What a file says is what comes of it: neither other questions, nor comments, scales, columns or gaps change a vote.

Each case is a small file in the layout of a real tool or set. `../shared/cases` may hold more of the same kinds.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from labeling_ui.exchange.importers.layout import Wishes
from labeling_ui.exchange.imports import survey_file
from tests.labeling_ui.exchange.importers.taking import PAIRS, drafted

CASES = Path(__file__).parents[5] / "shared" / "cases" / "labels"
FRUIT = {"prompt": "What floats?", "response1": "Apple", "response2": "Stone"}
FIELDS = {"pairwise": "selected", "textarea": "text"}
RATED = Campaign(name="rated", kind="rating", scale=5)
GOOD_OR_BAD = Campaign(name="good", kind="rating", scale=2)


def record(name: str = "r", status: str | None = "submitted", fields: dict[str, Any] = FRUIT, **answers: Any) -> Any:
    """An Argilla record in which u1 has answered questions."""
    given = {"user_id": "u1"} | ({"status": status} if status else {})
    responses = {question: [{"value": value, **given}] for question, value in answers.items()}
    return {"id": name, "fields": fields, "status": "pending", "responses": responses}


def task(*annotations: Any, **data: str) -> Any:
    """A Label Studio task."""
    return {"id": 1, "data": data or {"prompt": "What floats?", "response_a": "Apple", "response_b": "Stone"},
            "annotations": list(annotations)}  # fmt: skip


def annotation(by: Any, *results: tuple[str, str, str, Any]) -> Any:
    """An annotation: name of the question, kind, what it is about, value."""
    result = [
        {"from_name": name, "type": kind, "to_name": about, "value": {FIELDS.get(kind, kind): value}}
        for name, kind, about, value in results
    ]
    return {"completed_by": by, "was_cancelled": False, "result": result}


# Other questions.


@pytest.mark.parametrize(
    ("question", "value", "after"),
    [
        ("comment", "none", " (none)"),
        ("comment", "more careful than A", " (more careful than A)"),
        ("is_unsafe", "neither", ""),
        ("flag", "Both", ""),
        ("quality", "1", ""),
        ("topics", ["food", "nature"], ""),
        ("spans", [{"start": 0, "end": 3, "label": "fruit"}], ""),
        ("difficulty", 3, ""),
        ("checked", True, ""),
    ],
)
def test_another_question_of_argilla_changes_no_vote(question: str, value: Any, after: str) -> None:
    first = {question: value, "preference": "response1"}
    assert drafted("argilla", [record(**first)]) == ([("argilla u1", f"Apple{after}")], [])
    assert drafted("argilla", [record(preference="response2", **{question: value})])[0] == [
        ("argilla u1", f"Stone{after}")
    ]


@pytest.mark.parametrize("first", [True, False])
def test_a_comment_of_label_studio_changes_no_vote(first: bool) -> None:
    results = [("why", "textarea", "p", ["None"]), ("better", "choices", "p", ["response_a"])]
    row = task(annotation(7, *(results if first else results[::-1])))
    assert drafted("labelstudio", [row]) == ([("labelstudio 7", "Apple (None)")], [])


def test_of_two_questions_that_could_decide_one_must_be_named() -> None:
    rows = [record(helpful="response1", harmless="response2")]
    with pytest.raises(UserError, match=r'"helpful" and "harmless".*--question helpful'):
        drafted("argilla", rows)
    assert drafted("argilla", rows, question="harmless") == ([("argilla u1", "Stone")], [])
    with pytest.raises(UserError, match=r'has no question "harm": it has "helpful" and "harmless"'):
        drafted("argilla", rows, question="harm")


def test_a_question_whose_answers_could_mean_anything_must_be_named() -> None:
    rows = [record(str(number), quality=value) for number, value in enumerate(["1", "2"])]
    with pytest.raises(UserError, match="--question quality"):
        drafted("argilla", rows)
    assert [vote for _, vote in drafted("argilla", rows, question="quality")[0]] == ["Apple", "Stone"]


def test_two_thousand_questions_are_ignored_and_counted() -> None:
    row = record(preference="response1", **{f"topic {number}": ["x"] for number in range(2000)})
    assert drafted("argilla", [row]) == ([("argilla u1", "Apple")], [])


def test_a_reference_beside_the_responses_is_none_of_them() -> None:
    fields = {**FRUIT, "answer": "Apples float.", "attachments": [{"id": "x"}]}
    assert drafted("argilla", [record(fields=fields, preference="response2")])[0] == [("argilla u1", "Stone")]
    row = task(annotation(1, ("better", "choices", "p", ["response_b"])))
    row["data"] |= {"answer": "Apples float.", "related": [{"id": "n1", "text": "x"}, {"id": "n2", "text": "y"}]}
    assert drafted("labelstudio", [row])[0] == [("labelstudio 1", "Stone")]


def test_responses_may_be_conversations() -> None:
    user = {"role": "user", "content": "What floats?"}
    for start in ([], [user]):
        fields: dict[str, Any] = {"prompt": "What floats?"}
        fields |= {
            name: [*start, {"role": "assistant", "content": text}]
            for name, text in (("response1", "Apple"), ("response2", "Stone"))
        }
        assert drafted("argilla", [record(fields=fields, preference="response1")]) == ([("argilla u1", "Apple")], [])


# What is missing.


def test_answers_without_a_status_are_asked_about() -> None:
    row = record(status=None, preference="response1")
    row["responses"]["preference"] += [{"value": "response2", "user_id": "u2"}]
    votes, refused = drafted("argilla", [row])
    assert (votes, "carry no status" in refused[0], "--submitted" in refused[0]) == ([], True, True)
    assert len(drafted("argilla", [row], submitted=True)[0]) == 2
    alone = record(status=None, preference="response1")
    assert drafted("argilla", [alone])[0] == []
    assert drafted("argilla", [alone | {"status": "completed"}])[0] == [("argilla u1", "Apple")]
    assert drafted("argilla", [row | {"status": "completed"}])[0] == [], "one of the two may be a draft"


def test_a_flat_record_has_a_status_for_each_answer() -> None:
    row = {
        "id": "r", **FRUIT, "preference.responses": ["response1", "response2", "response2"],
        "preference.responses.users": ["u1", "u2", "u3"],
        "preference.responses.status": ["draft", "discarded", "submitted"],
    }  # fmt: skip
    assert drafted("argilla", [row])[0] == [("argilla u2", "skip"), ("argilla u3", "Stone")]


def test_people_without_a_name_are_different_people() -> None:
    row = task(*(annotation(by, ("pw", "pairwise", "a,b", side)) for by, side in
                 ((None, "left"), (None, "right"), (None, "right"), (5, "left"))))  # fmt: skip
    votes, refused = drafted("labelstudio", [row])
    assert ([vote for _, vote in votes], refused) == (["Apple", "Stone", "Stone", "Apple"], [])
    assert len({name for name, _ in votes}) == 4
    assert drafted("labelstudio", [row])[0] == votes, "the same people, whenever it is imported"


def test_a_person_may_be_called_zero() -> None:
    answer = {"verdict": "preferred", "winner": 0}
    rows = [
        {"prompt": "q", "responses": ["a", "b"], "answer": answer, "annotator": name}
        for name in (0, "0", 7.0, None, "")
    ]
    names = [name for name, _ in drafted("answers", rows)[0]]
    assert names[:3] == ["0", "0", "7"]
    assert len({*names[3:]}) == 2
    assert all("unknown" in name for name in names[3:])


def test_an_annotation_that_does_not_say_whether_it_was_cancelled_is_asked_about() -> None:
    row = task(annotation(1, ("better", "choices", "p", ["response_b"])))
    del row["annotations"][0]["was_cancelled"]
    assert "--submitted" in drafted("labelstudio", [row])[1][0]
    assert drafted("labelstudio", [row], submitted=True)[0] == [("labelstudio 1", "Stone")]


# Other scales.


def test_ratings_on_another_scale_are_refused() -> None:
    def rows(*scales: Any) -> list[Any]:
        return [
            {"prompt": "q", "response": "A", "score": 3, "scale": scale, "annotator": f"p{scale}"} for scale in scales
        ]

    votes, refused = drafted("ratings", rows(5, 3), RATED)
    assert (votes, len(refused)) == ([("p5", "helpful 3")], 1)
    assert "scale to 3" in refused[0]
    assert "--scale 5" in drafted("ratings", rows(None), RATED)[1][0]
    assert drafted("ratings", rows(None), RATED, scale=5)[0] == [("pNone", "helpful 3")]
    with pytest.raises(UserError, match=r"scale goes to 3, that of the campaign .* to 5"):
        drafted("ratings", rows(3), RATED, scale=3)


def test_the_scale_of_a_tool_s_ratings_must_be_said() -> None:
    fields = {"prompt": "q", "response": "A"}
    with pytest.raises(UserError, match=r"how far the scale .* goes \(the highest is 4\)"):
        drafted("argilla", [record(fields=fields, helpful=4)], RATED)
    assert drafted("argilla", [record(fields=fields, helpful=4)], RATED, scale=5)[0] == [("argilla u1", "helpful 4")]
    with pytest.raises(UserError, match=r"rates \"overall\", and the aspects of the campaign are helpful"):
        drafted("argilla", [record(fields=fields, overall=4)], RATED, scale=5)


def test_a_whole_number_may_be_written_as_a_fraction() -> None:
    row = {"prompt": "q", "response": "A", "scale": 5, "annotator": "p"}
    votes, refused = drafted("ratings", [{**row, "score": score} for score in (4, 4.0, "4", 4.5, None, 9)], RATED)
    assert [vote for _, vote in votes] == ["helpful 4"] * 3
    assert [line[:2] for line in refused] == ["4:", "5:", "6:"]


def test_a_rating_keeps_its_rationale() -> None:
    answer = {"verdict": "rated", "ratings": {"helpful": [5]}, "rationale": "clear"}
    row = {"prompt": "q", "responses": ["A"], "answer": answer, "annotator": "p"}
    assert drafted("answers", [row], RATED)[0] == [("p", "helpful 5 (clear)")]
    row["answer"] = answer | {"scale": 3}
    assert drafted("answers", [row], RATED)[0] == []


def test_one_rating_of_two_responses_is_refused() -> None:
    with pytest.raises(UserError, match="one rating for all of them"):
        drafted("labelstudio", [task(annotation(1, ("r", "rating", "response_a,response_b", 4)))], RATED, scale=5)


# Odd votes and rows.


def test_one_odd_vote_refuses_itself_alone() -> None:
    row = task(*(annotation(by, ("better", "choices", "p", [said])) for by, said in
                 ((1, "response_a"), (2, "response_a"), (3, "I cannot tell"))))  # fmt: skip
    votes, refused = drafted("labelstudio", [row])
    assert [vote for _, vote in votes] == ["Apple", "Apple"]
    assert refused == ["1: the answer 'I cannot tell' names none of the responses (response_a, response_b)"]


def test_a_battle_without_an_outcome_refuses_itself_alone() -> None:
    row = {"prompt": '["q"]', "response_a": '["b"]', "response_b": '["d"]', "winner_model_b": 0, "winner_tie": 0}
    votes, refused = drafted("arena", [{**row, "id": won, "winner_model_a": won} for won in (0, 1)])
    assert [vote for _, vote in votes] == ["b"]
    assert "no outcome" in refused[0]


def test_responses_without_an_answer_are_no_judgement() -> None:
    assert "--format responses" in drafted("answers", [{"prompt": "q", "responses": ["A", "B"]}])[1][0]


# The shared cases, where they are.


@pytest.mark.skipif(not CASES.exists(), reason=f"no shared cases at {CASES}")
@pytest.mark.parametrize(
    ("file", "format", "campaign", "wishes", "votes", "refused"),
    [
        ("argilla_comment_none.jsonl", "argilla", PAIRS, {}, 3, 0),
        ("argilla_multilabel.jsonl", "argilla", PAIRS, {}, 1, 0),
        ("argilla_rating_aside.jsonl", "argilla", PAIRS, {}, 1, 0),
        ("argilla_two_label_questions.json", "argilla", PAIRS, {"question": "helpful", "submitted": True}, 1, 0),
        ("argilla_chat_responses.json", "argilla", PAIRS, {"submitted": True}, 1, 0),
        ("argilla_draft_discarded_nested.json", "argilla", PAIRS, {}, 0, 1),
        ("argilla_draft_discarded_flat.jsonl", "argilla", PAIRS, {}, 2, 0),
        ("labelstudio_comment_none.json", "labelstudio", PAIRS, {}, 2, 0),
        ("labelstudio_one_odd_of_three.json", "labelstudio", PAIRS, {}, 2, 1),
        ("labelstudio_deleted_users.json", "labelstudio", PAIRS, {}, 3, 0),
        ("ratings_other_scale_silent.jsonl", "ratings", RATED, {}, 1, 1),
        ("ratings_float.jsonl", "ratings", RATED, {}, 2, 0),
        ("answers_rated_rationale.jsonl", "answers", RATED, {}, 1, 0),
        ("answers_no_answer.jsonl", "answers", PAIRS, {}, 0, 1),
        ("own_ties_export.jsonl", "trl", PAIRS, {}, 4, 0),
        ("own_preferences_export.jsonl", "trl", PAIRS, {}, 5, 0),
        ("trl_prompt_in_instruction_column.jsonl", "trl", PAIRS, {}, 0, 2),
        ("trl_prompt_in_instruction_column.jsonl", "trl", PAIRS, {"columns": {"prompt": ["instruction"]}}, 1, 1),
        ("trl_prompt_and_full_conversations.jsonl", "trl", PAIRS, {}, 1, 0),
        ("trl_tools_system.jsonl", "trl", PAIRS, {}, 3, 1),
        ("trl_unpaired_kto.jsonl", "trl", GOOD_OR_BAD, {}, 2, 0),
        ("arena_no_outcome.jsonl", "arena", PAIRS, {}, 0, 1),
        ("helpsteer2_preference.jsonl", "columns", PAIRS, {"columns": {"strength": ["preference_strength"]}}, 1, 0),
        ("pairs.jsonl.gz", "trl", PAIRS, {}, 1, 0),
        ("pairs.parquet", "trl", PAIRS, {}, 1, 0),
        ("pairs.csv", "trl", PAIRS, {}, 1, 0),
    ],
)
def test_shared_cases(
    file: str, format: str, campaign: Campaign, wishes: dict[str, Any], votes: int, refused: int
) -> None:
    found = drafted(format, CASES / file, campaign, **wishes)
    assert (len(found[0]), len(found[1])) == (votes, refused), found


def test_what_is_not_a_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a file"):
        survey_file("trl", tmp_path, Wishes())
    (tmp_path / "x.jsonl").write_text(json.dumps({"prompt": "q"}))
    with pytest.raises(UserError, match=r'no column "nope": its columns are prompt'):
        survey_file("trl", tmp_path / "x.jsonl", Wishes(columns={"prompt": ["nope"]}))
    with pytest.raises(UserError, match='trl has no field "promt"'):
        survey_file("trl", tmp_path / "x.jsonl", Wishes(columns={"promt": ["prompt"]}))
