"""Chatbot Arena: votes and judgements in the layouts of several years."""

from labeling_ui.exchange.exports.preferences import preferences
from labeling_ui.store.store import Store
from tests.labeling_ui.exchange.importers.taking import battle, reasons, take


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


def test_arena_rows_without_an_id_are_told_apart_by_what_they_say(store: Store) -> None:
    rows = [battle("model_a", question) for question in ("q1", "q2")]
    for row in rows:
        del row["question_id"]
    assert take(store, "arena", rows).taken == 2


def test_arena_votes_are_read_from_a_table_s_cells_too(store: Store) -> None:
    seen, later = battle("model_a", "q1", anony="False"), battle("model_a", "q2", evaluation_order="2")
    two_turns = battle("model_b", "q3", turn="1", anony="True", evaluation_order=1.0)
    for side in ("conversation_a", "conversation_b"):
        two_turns[side] = two_turns[side] * 2
    report = take(store, "arena", [seen, later, two_turns])
    assert [reason for _, reason in reasons(report)] == [
        "the models' names were in view (anony is false)",
        "it is a later vote of its session: what was said before is not in the conversation",
    ]
    assert [len(prompt.messages) for prompt in store.prompts()] == [1]


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
