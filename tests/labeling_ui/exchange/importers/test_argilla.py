"""Argilla: what is read from records of each version, and what is refused."""

from typing import Any

from labeling_ui.data_model import Answer
from labeling_ui.exchange.exports.preferences import preferences
from labeling_ui.exchange.exports.registry import export
from labeling_ui.store.store import Store
from tests.labeling_ui.exchange.importers.taking import RANKING, RATING, THREE, TWO, reasons, said, take


def test_argilla_2_labels_name_the_better_response(store: Store) -> None:
    answers = [
        {"value": value, "user_id": user, "status": "submitted"}
        for value, user in (("response-2", "u1"), ("tie", "u2"), ("Both bad", "u3"), ("1", "u4"))
    ]
    row = {
        "id": "r1", "fields": TWO, "metadata": {"secret": "x"}, "status": "completed", "_server_id": "s",
        "suggestions": {"preference": {"value": "response-1", "agent": "gpt-4"}},
        "responses": {"preference": answers, "why": [{**answers[0], "value": "It shines."}]},
    }  # fmt: skip
    report = take(store, "argilla", [row])
    assert (report.taken, report.refused) == (4, [])
    assert said(store) == {
        "argilla u1": Answer("preferred", winner="Sun.", rationale="It shines."),
        "argilla u2": Answer("tie"),
        "argilla u3": Answer("both_bad"),
        "argilla u4": Answer("preferred", winner="Rain."),
    }
    (prompt,) = store.prompts()
    assert prompt.messages == ({"role": "user", "content": "Why?"},)


def test_letters_mean_responses_that_are_counted_where_the_question_is_named(store: Store) -> None:
    values = {"u1": "A", "u2": "Option b", "u3": "c", "u4": "tie", "u5": "worse than A"}
    answers = [{"value": value, "user_id": user, "status": "submitted"} for user, value in values.items()]
    comment = {**answers[0], "value": "b"}
    row = {"id": "r", "fields": TWO, "responses": {"better": answers, "comment": [comment]}}
    report = take(store, "argilla", [row], question="better")
    assert said(store) == {
        "argilla u1": Answer("preferred", winner="Rain.", rationale="b"),
        "argilla u2": Answer("preferred", winner="Sun."),
        "argilla u4": Answer("tie"),
    }
    assert [reason for _, reason in reasons(report)] == [
        f"the answer '{value}' names none of the responses (response-1, response-2)" for value in ("c", "worse than A")
    ]
    turned = {**row, "fields": {"instruction": "Which?", "response-2": "Sun.", "response-1": "Rain."}}
    assert take(store, "argilla", [turned], question="better").taken == 1  # the tie: here A could be either


def test_a_submitted_answer_that_says_nothing_is_refused_beside_others(store: Store) -> None:
    values = {"a": "response-1", "b": None}
    chosen = [{"value": value, "user_id": user, "status": "submitted"} for user, value in values.items()]
    draft = {"value": "response-2", "user_id": "c", "status": "draft"}
    comment = {"value": "Hard.", "user_id": "d", "status": "submitted"}
    report = take(
        store, "argilla", [{"id": "r", "fields": TWO, "responses": {"q": [*chosen, draft], "why": [comment]}}]
    )
    assert (report.taken, list(said(store))) == (1, ["argilla a"])
    assert reasons(report) == [(1, "an answer says nothing of the responses")] * 2


def test_argilla_2_rankings_come_with_ties_and_in_order(store: Store) -> None:
    ranked = [
        {"value": [{"value": "response2", "rank": 1}, {"value": "response1", "rank": 2},
                   {"value": "response3", "rank": 2}], "user_id": "u1", "status": "submitted"},
        {"value": ["response3", "response1"], "user_id": "u2", "status": "submitted"},
        {"value": ["response3", "response1", "response2"], "user_id": "u3", "status": "draft"},
        {"value": None, "user_id": "u4", "status": "discarded"},
    ]  # fmt: skip
    report = take(store, "argilla", [{"id": "r", "fields": THREE, "responses": {"order": ranked}}], RANKING)
    assert (report.taken, report.refused) == (3, [])
    assert said(store) == {
        "argilla u1": Answer("ranked", ranking=(("Sun.",), ("Rain.", "Wind."))),
        "argilla u2": Answer("ranked", ranking=(("Wind.",), ("Rain.",))),
        "argilla u4": Answer("skip", reason="discarded in Argilla"),
    }


def test_argilla_2_flat_and_argilla_1_records_say_the_same(store: Store) -> None:
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    fields = {"prompt": "Why?", "context": "Weather.", "response1": "Rain.", "response2": "Sun."}
    flat = {
        "id": "1", **fields, "preference.responses": ["response1", "response2"],
        "preference.responses.users": ["a", "b"], "preference.responses.status": ["submitted", "discarded"],
    }  # fmt: skip
    values = {"preference": {"value": "response1"}}
    nested = {
        "external_id": "2", "fields": {**fields, "context": "", "prompt": "Who?"},
        "responses": [
            {"user_id": "a", "values": values, "status": "submitted"},
            {"user_id": "b", "values": {}, "status": "discarded"},
        ],
    }  # fmt: skip
    hub = {
        "messages": [*chat, {"role": "user", "content": "How?"}], "response1": "Rain.", "response2": "Sun.",
        "preference": [{"user_id": "a", "value": "response1", "status": "submitted"}],
        "preference-suggestion": "response2", "external_id": "3", "metadata": "{}",
    }  # fmt: skip
    report = take(store, "argilla", [flat, nested, hub])
    assert (report.taken, report.refused) == (5, [])
    assert {row["chosen"][0]["content"] for row in preferences(store).rows} == {"Rain."}
    asked = {len(prompt.messages): prompt.messages[-1]["content"] for prompt in store.prompts()}
    assert asked[3] == "How?"
    assert "Why?\n\nWeather." in {prompt.messages[0]["content"] for prompt in store.prompts()}


def test_argilla_ratings_are_about_the_response_that_their_question_names(store: Store) -> None:
    responses = {
        question: [{"value": score, "user_id": "u", "status": "submitted"}]
        for question, score in (("response1-helpful", 5), ("helpful_response2", 2), ("response3-rating", 1))
    }
    report = take(store, "argilla", [{"id": "r", "fields": THREE, "responses": responses}], RATING, scale=5)
    assert (report.taken, report.refused) == (3, [])
    scores = {(row["response"], row["aspect"]): row["score"] for row in export(store, "ratings")}
    assert scores == {("Rain.", "helpful"): 5, ("Sun.", "helpful"): 2, ("Wind.", "rating"): 1}


def test_argilla_records_that_cannot_be_told_are_refused_by_line(store: Store) -> None:
    def record(number: int, fields: dict[str, Any], **values: Any) -> dict[str, Any]:
        answers = {name: [{"value": value, "user_id": "u", "status": "submitted"}] for name, value in values.items()}
        return {"id": str(number), "fields": fields, "responses": answers}

    rows = [
        record(1, TWO),
        record(2, {"text": "x", "other": "y"}, label="response-1"),
        record(3, {"prompt": "x", "summary": "y"}, label="response-1"),
        record(4, TWO, label="response-7"),
        record(5, THREE, label="response1"),
        record(6, {"query": "x", "input": "y", "response1": "a", "response2": "b"}, label="response1"),
        record(7, TWO, score=3),
        record(7, TWO, label="response-1"),
        record(8, TWO, label="response-1", why="\0"),
        {**record(9, TWO, label="response-1"), "fields": {**TWO, "response-1": "Sun."}},
        record(10, {**TWO, "instruction": "Who?"}, label="response-1"),
    ]
    report = take(store, "argilla", rows)
    expected = [
        (1, "nobody has answered"), (2, "none of its fields is a prompt"), (3, "none of its fields is a response"),
        (4, "'response-7' names none of the responses (response-1, response-2)"), (5, "the best of 3 responses"),
        (6, 'several fields could be the prompt ("query", "input"): name it, as in --map prompt=query'),
        (7, "says nothing of the responses"), (8, "the record with id '7' is in the file already, at 7"),
        (9, "cannot be stored"), (10, "the two responses are the same"),
    ]  # fmt: skip
    assert report.taken == 1
    assert [line for line, _ in reasons(report)] == [line for line, _ in expected]
    for (_, reason), (_, part) in zip(reasons(report), expected, strict=True):
        assert part in reason
