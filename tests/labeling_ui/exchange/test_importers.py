"""Argilla, Label Studio, Chatbot Arena and the project's own answers: what is read from each, and what is refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer
from labeling_ui.exchange.exports.preferences import preferences
from labeling_ui.exchange.exports.registry import KINDS, export
from labeling_ui.exchange.imports import ImportReport, import_file
from labeling_ui.store.store import Store

PAIRS = Campaign()
RANKING = Campaign(name="ranking", kind="ranking")
RATING = Campaign(name="rating", kind="rating", aspects=("helpful", "rating"), scale=5)
THREE = {"prompt": "Why?", "response1": "Rain.", "response2": "Sun.", "response3": "Wind."}
TWO = {"instruction": "Why?", "response-1": "Rain.", "response-2": "Sun."}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "labels.db")
    yield store
    store.close()


def take(store: Store, format: str, rows: list[Any], campaign: Campaign = PAIRS, gold: bool = False) -> ImportReport:
    """Import rows, as JSON Lines and then as one JSON array, which must add nothing."""
    path = Path(store.database.name).parent / "file"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    report = import_file(store, format, path, campaign, gold=gold)
    path.write_text("\ufeff" + json.dumps(rows, indent=2), encoding="utf-8")
    again = import_file(store, format, path, campaign, gold=gold)
    assert (again.taken, again.refused) == (0, report.refused)
    return report


def said(store: Store) -> dict[str, Answer]:
    """What each annotator said, in the words of the responses instead of ids."""
    texts = {candidate.id: candidate.response for candidate in store.candidates()}
    names = {annotator.id: annotator.name for annotator in store.annotators()}

    def worded(answer: Answer) -> Answer:
        return Answer(
            answer.verdict,
            winner=texts[answer.winner] if answer.winner else None,
            strength=answer.strength,
            ranking=tuple(tuple(sorted(texts[each] for each in group)) for group in answer.ranking),
            ratings={
                aspect: {texts[each]: score for each, score in given.items()}
                for aspect, given in answer.ratings.items()
            },
            reason=answer.reason,
            rationale=answer.rationale,
        )

    return {names[judgement.annotator_id]: worded(judgement.answer) for judgement in store.judgements()}


def reasons(report: ImportReport) -> list[tuple[int, str]]:
    return [(refusal.line, refusal.reason) for refusal in report.refused]


# Argilla.


def test_argilla_2_labels_name_the_better_response(store: Store) -> None:
    answers = [
        {"value": "response-2", "user_id": "u1"},
        {"value": "tie", "user_id": "u2"},
        {"value": "Both bad", "user_id": "u3"},
        {"value": "1", "user_id": "u4"},
    ]
    row = {
        "id": "r1", "fields": TWO, "metadata": {"secret": "x"}, "status": "completed", "_server_id": "s",
        "suggestions": {"preference": {"value": "response-1", "agent": "gpt-4"}},
        "responses": {"preference": answers, "why": [{"value": "It shines.", "user_id": "u1"}]},
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


def test_argilla_2_rankings_come_with_ties_and_in_order(store: Store) -> None:
    ranked = [
        {"value": [{"value": "response2", "rank": 1}, {"value": "response1", "rank": 2},
                   {"value": "response3", "rank": 2}], "user_id": "u1", "status": "submitted"},
        {"value": ["response3", "response1"], "user_id": "u2"},
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
        "response1-helpful": [{"value": 5, "user_id": "u"}],
        "helpful_response2": [{"value": 2, "user_id": "u"}],
        "response3-rating": [{"value": 1, "user_id": "u"}],
    }
    report = take(store, "argilla", [{"id": "r", "fields": THREE, "responses": responses}], RATING)
    assert (report.taken, report.refused) == (3, [])
    scores = {(row["response"], row["aspect"]): row["score"] for row in export(store, "ratings")}
    assert scores == {("Rain.", "helpful"): 5, ("Sun.", "helpful"): 2, ("Wind.", "rating"): 1}


def test_argilla_records_that_cannot_be_told_are_refused_by_line(store: Store) -> None:
    def record(number: int, fields: dict[str, Any], **values: Any) -> dict[str, Any]:
        answers = {name: [{"value": value, "user_id": "u"}] for name, value in values.items()}
        return {"id": str(number), "fields": fields, "responses": answers}

    rows = [
        record(1, TWO),
        record(2, {"text": "x", "other": "y"}, label="good"),
        record(3, {"prompt": "x", "summary": "y"}, label="good"),
        record(4, TWO, label="response-7"),
        record(5, THREE, order=["response1", "response9"]),
        record(6, THREE, order=["response1", "response2"]),
        record(7, TWO, score=3),
        record(7, TWO, label="response-1"),
        record(8, TWO, label="tie\0"),
        {**record(9, TWO, label="response-1"), "fields": {**TWO, "response-1": "Sun."}},
    ]
    report = take(store, "argilla", rows)
    expected = [
        (1, "nobody has answered"), (2, "none of its fields is a prompt"), (3, "none of its fields is a response"),
        (4, "'response-7' names none of the responses (response-1, response-2)"), (5, "the ranking names 'response9'"),
        (6, "--set label.kind=ranking"), (7, "does not say which of 2 responses it rates"),
        (8, "the record with id '7' is in the file already, at 7"), (10, "the two responses are the same"),
    ]  # fmt: skip
    assert [line for line, _ in reasons(report)] == [line for line, _ in expected]
    for (_, reason), (_, part) in zip(reasons(report), expected, strict=True):
        assert part in reason


# Label Studio.


def task(number: int, data: dict[str, Any], *annotations: dict[str, Any]) -> dict[str, Any]:
    return {"id": number, "data": data, "annotations": list(annotations), "predictions": [{"result": []}]}


def annotation(by: Any, *results: tuple[str, str, dict[str, Any]], cancelled: bool = False) -> dict[str, Any]:
    result = [{"type": kind, "from_name": kind, "to_name": to, "value": found} for kind, to, found in results]
    return {"id": 5, "completed_by": by, "was_cancelled": cancelled, "lead_time": 3.5, "result": result}


def test_label_studio_keeps_its_annotators_apart(store: Store) -> None:
    data = {"prompt": "Why?", "answer1": "Rain.", "answer2": "Sun."}
    person = {"id": 3, "email": "ann@example.org", "first_name": "Ann"}
    row = task(
        1,
        data,
        annotation(1, ("pairwise", "answer1,answer2", {"selected": "right"}), ("textarea", "x", {"text": ["Dry."]})),
        annotation(2, ("pairwise", "answer2,answer1", {"selected": "right"})),
        annotation(person, ("choices", "answer1", {"choices": ["Tie"]})),
        annotation(4, ("pairwise", "answer1,answer2", {"selected": "left"}), cancelled=True),
    )
    report = take(store, "labelstudio", [row])
    assert (report.taken, report.refused) == (4, [])
    assert said(store) == {
        "labelstudio 1": Answer("preferred", winner="Sun.", rationale="Dry."),
        "labelstudio 2": Answer("preferred", winner="Rain."),
        "labelstudio 3": Answer("tie"),
        "labelstudio 4": Answer("skip", reason="cancelled in Label Studio"),
    }
    assert "ann" not in {each.name for each in store.annotators()}, "no names, no e-mail addresses"


@pytest.mark.parametrize(
    "ranker", [["m2", "m3", "m1"], {"rank": ["m2", "m3", "m1"], "_": []}, {"_": ["m2", "m3", "m1"]}]
)
def test_label_studio_rankers_order_the_items_of_a_list(store: Store, ranker: Any) -> None:
    items = [{"id": "m1", "title": "Model 1", "body": "Rain."}, {"id": "m2", "body": "Sun."}, {"id": "m3", "html": "W"}]
    row = task(1, {"prompt": "Why?", "items": items}, annotation(1, ("ranker", "items", {"ranker": ranker})))
    assert take(store, "labelstudio", [row], RANKING).taken == 1
    assert said(store)["labelstudio 1"].ranking == (("Sun.",), ("W",), ("Rain.",))


def test_label_studio_ratings_and_refusals(store: Store) -> None:
    data = {"prompt": "Why?", "answer1": "Rain.", "answer2": "Sun."}
    rated = annotation(1, ("rating", "answer2", {"rating": 4}), ("rating", "answer1", {"rating": 2}))
    rows = [
        task(1, data, rated),
        task(2, data, annotation(1, ("rating", "answer1", {"rating": 9}))),
        task(3, data),
        task(4, data, annotation(1, ("ranker", "x", {"ranker": {"good": ["answer1"], "bad": ["answer2"]}}))),
        task(5, data, annotation(1, ("rating", "answer1", {"rating": 2.5}))),
    ]
    report = take(store, "labelstudio", rows, RATING)
    assert report.taken == 2
    assert {row["response"]: row["score"] for row in export(store, "ratings")} == {"Rain.": 2, "Sun.": 4}
    parts = [(2, "expected 1 to 5"), (3, "nobody has annotated"), (4, "several buckets"), (5, "not a whole number")]
    for (line, reason), (expected, part) in zip(reasons(report), parts, strict=True):
        assert (line, part in reason) == (expected, True)


def test_label_studio_min_exports_are_no_such_file(store: Store) -> None:
    path = Path(store.database.name).parent / "min.json"
    path.write_text('[{"data": {}, "id": 1, "comparison": "left"}]')
    with pytest.raises(UserError, match='record 1: the field "annotations" is missing'):
        import_file(store, "labelstudio", path)


# Chatbot Arena.


def battle(winner: str, question: str = "q1", **more: Any) -> dict[str, Any]:
    def talk(reply: str) -> list[dict[str, Any]]:
        return [{"role": "user", "content": f"Why {question}?"}, {"role": "assistant", "content": reply}]

    return {
        "question_id": question, "model_a": "llama", "model_b": "vicuna", "winner": winner, "judge": "arena_user_1",
        "conversation_a": talk("Rain."), "conversation_b": talk("Sun."), "turn": 1, "anony": True,
        "language": "English", "tstamp": 1.7e9, **more,
    }  # fmt: skip


def test_arena_votes_of_every_kind(store: Store) -> None:
    rows = [battle(winner, winner) for winner in ("model_a", "model_b", "tie", "tie (bothbad)", "both_bad")]
    assert take(store, "arena", rows).taken == 5
    assert store.counts().by_verdict == {
        "preferred": 2, "tie": 1, "both_bad": 2, "ranked": 0, "rated": 0, "skip": 0,
    }  # fmt: skip
    assert all("llama" not in str(candidate.source) for candidate in store.candidates()), "who wrote what is not kept"


def test_arena_judgements_of_the_first_turn_are_about_it_alone(store: Store) -> None:
    later = [{"role": "user", "content": "And?"}, {"role": "assistant", "content": "No."}]
    two_turns = battle("model_b", judge="expert_3")
    two_turns |= {side: [*two_turns[side], *later] for side in ("conversation_a", "conversation_b")}
    rows = [two_turns, {**two_turns, "turn": 2}, {**two_turns, "judge": "gpt4_pair"}, two_turns]
    report = take(store, "arena", rows)
    assert report.taken == 2
    assert reasons(report)[0] == (2, "the conversations differ before the last reply")
    assert "is in the file already, at 1" in reasons(report)[1][1]
    assert {row["chosen"][0]["content"] for row in preferences(store).rows} == {"Sun."}
    assert store.counts().simulated_judgements == 1, "a model that judges is no person"


def test_arena_layouts_of_later_years(store: Store) -> None:
    parts = {
        side: [{"role": "user", "content": [{"type": "text", "text": "Why?"}]},
               {"role": "assistant", "content": [{"type": "text", "text": text, "image": None}]}]
        for side, text in (("conversation_a", "Rain."), ("conversation_b", "Sun."))
    }  # fmt: skip
    newest = {"id": "1", "winner": "model_a", "evaluation_session_id": "s", "evaluation_order": 1, **parts}
    image = {**newest, "id": "2", "conversation_a": [{"role": "user", "content": [{"type": "image", "image": "x"}]}]}
    kaggle = {
        "id": 30192, "prompt": '["Who?"]', "response_a": '["Me."]', "response_b": '["You."]',
        "winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0,
    }  # fmt: skip
    later = {**newest, "id": "3", "evaluation_order": 2}
    rows = [newest, image, later, kaggle, battle("model_c"), battle("tie", "q2", anony=False)]
    report = take(store, "arena", rows)
    assert {row["chosen"][0]["content"] for row in preferences(store).rows} == {"Rain.", "You."}
    parts_of = [(2, "more than text"), (3, "a later vote"), (5, "'model_c' is none of"), (6, "names were in view")]
    for (line, reason), (expected, part) in zip(reasons(report), parts_of, strict=True):
        assert (line, part in reason) == (expected, True)


# The project's own layouts, and gold.


def own(answer: dict[str, Any], *responses: str, **more: Any) -> dict[str, Any]:
    return {"prompt": "Why?", "responses": list(responses or ("Rain.", "Sun.")), "answer": answer, **more}


def test_own_answers_of_every_kind(store: Store) -> None:
    take(store, "answers", [own({"verdict": "preferred", "winner": 1, "strength": 3}, annotator="ann")])
    ranked = {"verdict": "ranked", "ranking": [[2], [0, 1]], "rationale": "because"}
    take(store, "answers", [own(ranked, "a", "b", "c", annotator="ben")], RANKING)
    take(store, "answers", [own({"verdict": "rated", "ratings": {"helpful": [5]}}, "a", annotator="carl")], RATING)
    assert said(store) == {
        "ann": Answer("preferred", winner="Sun.", strength=3),
        "ben": Answer("ranked", ranking=(("c",), ("a", "b")), rationale="because"),
        "carl": Answer("rated", ratings={"helpful": {"a": 5}}),
    }


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"verdict": "preferred", "winner": 2}, "names response 2, but there are 2, counted from 0"),
        ({"verdict": "preferred", "winner": True}, "names response True"),
        ({"verdict": "preferred", "winner": 0, "strength": 4}, "strength 4"),
        ({"verdict": "best"}, "'best' is none of"),
        ({"verdict": "ranked", "ranking": [0, 1]}, "not a list of groups"),
        ({"verdict": "rated", "ratings": {"helpful": [1]}}, "1 scores for 2 responses"),
        ({"verdict": "tie", "rationale": "x" * 30_000}, "text of 30000 characters"),
        ({"verdict": "tie", "rationale": "\ud83d"}, "half of a surrogate pair"),
    ],
)
def test_impossible_answers_are_refused(store: Store, answer: dict[str, Any], reason: str) -> None:
    ((line, found),) = reasons(take(store, "answers", [own(answer)]))
    assert (line, reason in found) == (1, True), found


def test_a_ranking_of_two_is_a_preference(store: Store) -> None:
    rows = [
        own({"verdict": "ranked", "ranking": [[1], [0]]}, annotator="ann"),
        own({"verdict": "ranked", "ranking": [[1, 0]]}, annotator="ben"),
    ]
    take(store, "answers", rows)
    assert said(store) == {"ann": Answer("preferred", winner="Sun."), "ben": Answer("tie")}


def test_our_ratings_come_back_as_they_went(store: Store, tmp_path: Path) -> None:
    scores = {"helpful": [5], "rating": [2]}
    take(store, "answers", [own({"verdict": "rated", "ratings": scores}, "Rain.")], RATING)
    rows = export(store, "ratings")
    copy = Store(tmp_path / "copy.db")
    assert take(copy, "ratings", rows, RATING).taken == 1, "two aspects of one annotator are one judgement"
    kept = ("prompt", "response", "aspect", "score", "scale")
    back = [{name: row[name] for name in kept} for row in export(copy, "ratings")]
    assert sorted(back, key=str) == sorted(({name: row[name] for name in kept} for row in rows), key=str)
    copy.close()


def test_gold_items_are_tasks_with_a_known_answer(store: Store) -> None:
    rows = [
        own({"verdict": "preferred", "winner": 1, "strength": 2, "rationale": "obvious"}),
        own({"verdict": "both_bad"}, "x", "y"),
        own({"verdict": "skip"}, "x", "z"),
    ]
    report = take(store, "answers", rows, gold=True)
    assert report.taken == 2
    assert reasons(report) == [(3, "it has no known answer")]
    gold = {task.gold.verdict: task for task in store.tasks() if task.gold}
    sun = next(each.id for each in store.candidates() if each.response == "Sun.")
    assert gold["preferred"].gold == Answer("preferred", winner=sun)
    assert gold["both_bad"].gold == Answer("both_bad")
    assert store.counts().judgements == 0
    assert preferences(store).rows == []


def test_any_format_can_bring_gold(store: Store) -> None:
    assert take(store, "trl", [{"prompt": "Why?", "chosen": "Sun.", "rejected": "Rain."}], gold=True).taken == 1
    votes = [{"value": "response-1", "user_id": "a"}, {"value": "response-2", "user_id": "b"}]
    disputed = {"id": "1", "fields": {**TWO, "instruction": "Who?"}, "responses": {"p": votes}}
    agreed = {"id": "2", "fields": {**TWO, "instruction": "How?"}, "responses": {"p": votes[:1]}}
    report = take(store, "argilla", [disputed, agreed], gold=True)
    assert (report.taken, reasons(report)) == (1, [(1, "its annotators disagree: no answer is known")])


def test_a_gold_task_and_a_task_to_be_judged_are_never_the_same(store: Store) -> None:
    asked, known = own({"verdict": "preferred", "winner": 1}), own({"verdict": "tie"}, "x", "y")
    assert take(store, "answers", [asked]).taken == 1
    assert take(store, "answers", [known], gold=True).taken == 1
    assert "are a task to be judged in the store already" in reasons(take(store, "answers", [asked], gold=True))[0][1]
    assert "are a gold task in the store already" in reasons(take(store, "answers", [known]))[0][1]
    other = own({"verdict": "preferred", "winner": 0}, "x", "y")
    assert "gold task with another answer" in reasons(take(store, "answers", [other], gold=True))[0][1]


# Files as a whole.


def test_a_person_and_a_simulated_annotator_of_one_name_stop_the_import(store: Store) -> None:
    store.annotator("robot", simulated=True)
    rows = [own({"verdict": "tie"}, "x", "y", annotator="ann"), own({"verdict": "tie"}, annotator="robot")]
    with pytest.raises(UserError, match=r'line 2: "robot" is at once a person and a simulated annotator'):
        take(store, "answers", rows)
    assert store.counts().prompts == 0
    assert [each.name for each in store.annotators()] == ["robot"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"prompt": "caf\xe9"}', "line 1: not UTF-8"),
        (b'[{"prompt": "caf\xe9"}]', "not UTF-8 text"),
        ("[]".encode("utf-16"), "line 1: not UTF-8"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"a": ' * 100_000, "line 1: not valid JSON"),
        (b'{"id": ' + b"9" * 5000 + b"}", "line 1: not valid JSON"),
        (b"[]", "holds no records"),
        (b"\xef\xbb\xbf \n", "not valid JSON"),
    ],
)
@pytest.mark.parametrize("format", ["trl", "argilla", "labelstudio", "arena", "answers"])
def test_a_broken_file_is_one_message_and_leaves_no_trace(
    store: Store, tmp_path: Path, format: str, content: bytes, told: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(UserError, match=told):
        import_file(store, format, path)
    assert store.campaigns() == []


def test_a_file_that_breaks_off_stores_nothing_of_what_came_before(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "file"
    lines = [json.dumps(battle("model_a", str(number))) for number in range(1200)]
    path.write_text("\n".join([*lines, lines[0][:50]]), encoding="utf-8")
    with pytest.raises(UserError, match="line 1201: not valid JSON"):
        import_file(store, "arena", path)
    assert store.counts().prompts == 0


def test_a_campaign_keeps_its_own_settings_when_more_is_imported(store: Store) -> None:
    store.add_campaign(Campaign(name="main", overlap=3))
    take(store, "answers", [own({"verdict": "tie"})], Campaign(overlap=1))
    assert store.campaigns()[0].overlap == 3


def test_either_database_takes_and_gives_every_kind(store_url: str, tmp_path: Path) -> None:
    store = Store(store_url)
    ranked = {"verdict": "ranked", "ranking": [[2], [0], [1]]}
    rated = {"verdict": "rated", "ratings": {"helpful": [5]}}
    for campaign, row in (
        (PAIRS, own({"verdict": "preferred", "winner": 1, "strength": 3, "rationale": "Größe 大"})),
        (RANKING, own(ranked, "a", "b", "c")),
        (RATING, own(rated, "d")),
    ):
        path = tmp_path / campaign.name
        path.write_text(json.dumps(row), encoding="utf-8")
        assert import_file(store, "answers", path, campaign).taken == 1
        assert import_file(store, "answers", path, campaign).already_there == 1
    gold = tmp_path / "gold"
    gold.write_text(json.dumps(own({"verdict": "tie"}, "x", "y")), encoding="utf-8")
    assert import_file(store, "answers", gold, PAIRS, gold=True).taken == 1
    rows = {kind: len(export(store, kind)) for kind in KINDS}
    assert rows == {"preferences": 4, "rankings": 3, "ties": 0, "orders": 1, "unpaired": 5, "prompts": 1, "ratings": 1}
    assert store.verify() == []
    store.close()
