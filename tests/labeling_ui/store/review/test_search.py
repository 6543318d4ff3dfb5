"""The task browser's pages: every condition, in both databases, to the last task and within its time."""

import itertools

import pytest

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Candidate, Message, Prompt, Task
from labeling_ui.store.review import search
from labeling_ui.store.review.review import TaskReview
from labeling_ui.store.review.search import Cursor, Wanted, find_tasks
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import Clock, fill
from tests.labeling_ui.store.statements import statements


@pytest.fixture
def review(store: Store, clock: Clock) -> TaskReview:
    return TaskReview(store.database, clock)


def say(store: Store, name: str, number: int, answer: Answer | None = None, place: int = 0) -> list[str]:
    """Judge so many tasks; returns their ids."""
    who, done = store.annotator(name).id, []
    for _ in range(number):
        given = store.next_assignment(who)
        assert given is not None
        store.record(given.judgement(answer or Answer("preferred", given.task.candidates[place], 1), 3.0))
        done.append(given.task.id)
    return done


def found(review: TaskReview, **wanted: object) -> set[str]:
    return {row.task.id for row in review.find(Wanted(**wanted), count=100)[1]}  # type: ignore[arg-type]


def test_every_condition_finds_its_tasks_and_they_hold_together(store: Store, review: TaskReview, clock: Clock) -> None:
    tasks = fill(store, 6, 2)
    other = fill(store, 2, campaign=Campaign(name="other", gold_share=0, repeat_share=0), asked="other")
    ann = say(store, "ann", 3, Answer("both_bad", rationale="Nonsense on “stilts”, 说 %_"))
    clock.now += 86400 * 2
    later = say(store, "ann", 1, Answer("skip", reason="no Idea"))
    ids, name = store.annotators(), {each.id for each in (*tasks, *other)}
    assert found(review) == name
    assert found(review, campaign="other") == {task.id for task in other}
    assert found(review, annotator=ids[0].id) == {*ann, *later}
    assert found(review, verdict="both_bad") == set(ann)
    assert found(review, verdict="both_bad", annotator=ids[0].id, campaign="other") == set()
    assert found(review, since="1970-01-13") == set(later)
    assert found(review, until="1970-01-13") == set(ann)
    assert found(review, since="1970-01-13", verdict="both_bad") == set()
    assert found(review, text="QUESTION 3") == {tasks[3].id}
    assert found(review, text="nonsense on “stilts”") == set(ann)
    assert found(review, text="说 %_") == set(ann), "neither sign is a pattern"
    assert found(review, text="no idea") == set(later)
    assert found(review, text="a good answer", campaign="other") == {task.id for task in other}
    assert found(review, text="verdict") == set(), "what is around a text is no text"
    review.change([tasks[0].id], "pause", ids[0].id)
    assert found(review, state="paused") == {tasks[0].id}


@pytest.mark.parametrize("few", [0, 2000])
def test_texts_are_found_alike_whether_few_or_many_have_them(
    store: Store, review: TaskReview, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "FEW", few)
    prompt = Prompt((Message(role="user", content="Was ist “ΔΟΚΙΜΗ”?\nZeile"),))
    texts = [Candidate(prompt.id, text) for text in ("Ein Versuch", "Nichts", "Drittes, ÄHNLICH: 9!% a\\b_C")]
    pair, rest = Task(prompt.id, (texts[0].id, texts[1].id)), Task(prompt.id, (texts[1].id, texts[2].id))
    store.add_prompts([prompt])
    store.add_candidates(texts)
    store.add_tasks([pair, rest])
    assert found(review, text="ein versuch") == {pair.id}, "only where that response is shown"
    assert found(review, text="NICHTS") == found(review, text="“ΔΟΚΙΜΗ”") == {pair.id, rest.id}
    assert found(review, text="?\nzeile") == {pair.id, rest.id}
    assert found(review, text="drittes, ÄHNLICH") == {rest.id}
    assert found(review, text="ähnlich") == set(), "only A to Z are the same in both cases, whatever the database"
    for text in ("9!%", "A\\B_c", "!% A\\"):
        assert found(review, text=text) == {rest.id}
    for text in ("9!_", "a_b", "a%b", "a\\\\b", "!!", "nirgends"):
        assert found(review, text=text) == set(), "a sign is nothing but itself"


def test_pages_hold_each_task_once_the_latest_answer_first(store: Store, review: TaskReview) -> None:
    fill(store, 30)
    judged = say(store, "ann", 7)
    seen: list[str] = []
    after = None
    while True:
        page, rows = review.find(Wanted(), after, count=4)
        assert [row.task.id for row in rows] == list(page.task_ids)
        seen += page.task_ids
        if page.following is None:
            break
        assert len(page.task_ids) == 4
        after = Cursor.read(str(page.following))
        assert after == page.following
    assert seen[:7] == judged[::-1]
    assert (len(seen), len(set(seen))) == (30, 30)


def test_a_search_that_is_not_over_in_time_goes_on_from_where_it_stopped(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_STEPS", (3,))
    monkeypatch.setattr(search, "FEW", 0)
    tasks = fill(store, 20)
    wanted, after, rounds = Wanted(text="question 7"), None, 0
    hits: list[str] = []
    with store.database.read() as connection:
        while True:
            rounds += 1
            page = find_tasks(connection, wanted, after, 4, seconds=0.5, clock=itertools.count().__next__)
            hits, after = [*hits, *page.task_ids], page.following
            assert page.searched_all == (after is None)
            if after is None:
                break
    assert (hits, rounds) == ([tasks[7].id], 7)


def test_tasks_that_divide_people_come_by_how_far_apart_they_are(store: Store, review: TaskReview) -> None:
    fill(store, 3, 3)
    same = say(store, "ann", 3)
    say(store, "bob", 2)
    (apart,) = say(store, "bob", 1, place=1)
    assert found(review, divided=True) == {apart}
    row = review.find(Wanted(divided=True))[1][0]
    assert (row.disagreement, dict(row.verdicts)) == (1.0, {"preferred": 2})
    store.undo(store.annotator("bob").id, "back")
    assert found(review, divided=True) == set(), "what was taken back divides nobody"
    assert apart in same


def test_a_response_that_names_its_model_is_found(store: Store, review: TaskReview) -> None:
    fill(store, 2)
    prompt = Prompt((Message(role="user", content="Who are you?"),))
    two = [Candidate(prompt.id, "I am ChatGPT."), Candidate(prompt.id, "A friend.")]
    store.add_prompts([prompt])
    store.add_candidates(two)
    store.add_tasks([Task(prompt.id, (two[0].id, two[1].id))])
    assert {row.asked for row in review.find(Wanted(flagged=True))[1]} == {"Who are you?"}


@pytest.mark.parametrize("text", ["", "x", "1~", "nan", "one~id"])
def test_what_is_no_cursor_begins_at_the_beginning(text: str) -> None:
    assert Cursor.read(text) is None


@pytest.mark.parametrize(
    "rare",
    [
        {"state": "removed"},
        {"state": "paused"},
        {"state": "decided"},
        {"flagged": True},
        {"verdict": "tie", "until": "1970-01-13"},
        {"verdict": "both_bad", "since": "1970-01-13"},
        {"since": "1970-01-14"},
        {"annotator": "nobody"},
    ],
)
def test_what_few_tasks_meet_is_found_without_looking_at_the_others(
    store: Store, review: TaskReview, rare: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = fill(store, 40)
    asked = Prompt((Message(role="user", content="Who are you?"),))
    told = [Candidate(asked.id, "As an AI developed by OpenAI, I am nobody."), Candidate(asked.id, "Nobody.")]
    naming = Task(asked.id, tuple(one.id for one in told), tasks[0].campaign)
    store.add_tasks([naming], prompts=[asked], candidates=told)
    lead = store.annotator("lead").id
    review.change([tasks[0].id], "remove", lead)
    review.change([tasks[1].id], "pause", lead)
    review.decide(tasks[2].id, lead, Answer("tie"))
    (judged,) = say(store, "ann", 1, Answer("tie"))
    monkeypatch.setattr(search, "_STEPS", (3, 3, 3))
    monkeypatch.setattr(search, "FEW", -1)
    expected = {"removed": tasks[0].id, "paused": tasks[1].id, "decided": tasks[2].id}
    of = {naming.id} if rare.get("flagged") else {judged} if "until" in rare else set()
    with statements(store) as seen, store.database.read() as connection:
        page = find_tasks(connection, Wanted(**rare))  # type: ignore[arg-type]
    assert set(page.task_ids) == ({expected[str(rare["state"])]} if "state" in rare else of)
    assert page.searched_all
    assert sum("FROM tasks" in each for each in seen) <= 2, "every three tasks that are looked at take two questions"


def test_responses_are_not_gone_through_where_a_text_was_often_written(
    store: Store, review: TaskReview, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 6)
    judged = say(store, "ann", 4, Answer("tie", rationale="It says why."))
    monkeypatch.setattr(search, "FEW", 3)
    with statements(store) as seen:
        assert found(review, text="says why") == set(judged)
    assert not [each for each in seen if each.startswith("SELECT candidates.prompt_id")]
