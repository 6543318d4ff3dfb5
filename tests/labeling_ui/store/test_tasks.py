"""What the store keeps of campaigns, prompts, candidates, tasks and annotators, and what it refuses."""

from pathlib import Path

import pytest

from foundation.errors import UserError
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Candidate, Message, Prompt, Task
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import fill


def test_adding_twice_adds_nothing(store: Store) -> None:
    prompt = Prompt((Message(role="user", content="hello"),), references=("hi",))
    candidates = [Candidate(prompt.id, "one", {"model": "m", "seed": 3}), Candidate(prompt.id, "two")]
    task = Task(prompt.id, (candidates[0].id, candidates[1].id), gold=Answer("preferred", candidates[0].id, 2))
    assert (store.add_prompts([prompt]), store.add_prompts([prompt])) == (1, 0)
    assert (store.add_candidates(candidates), store.add_candidates(candidates)) == (2, 0)
    assert (store.add_tasks([task], 2), store.add_tasks([task], 2)) == (1, 0)
    assert store.prompts() == [prompt]
    assert store.candidates() == sorted(candidates, key=lambda candidate: candidate.id)
    assert store.tasks() == [task]
    assert store.campaigns() == [Campaign()], "the campaign main is made where it is missing"


def test_a_campaign_can_change_its_settings(store: Store) -> None:
    fill(store, 1, campaign=Campaign(name="pairs"))
    store.add_campaign(Campaign(name="pairs", instructions="Look twice.", overlap=3))
    store.add_campaign(Campaign(name="empty"))
    store.add_campaign(Campaign(name="empty", kind="rating"))
    assert [campaign.instructions for campaign in store.campaigns()] == ["Look twice.", ""], "the first comes first"
    assert store.campaigns()[1].kind == "rating"
    assert store.version("empty") == 1, "nothing was asked"


def test_tasks_take_their_overlap_from_the_campaign(store: Store) -> None:
    campaign = Campaign(overlap=3)
    store.add_campaign(campaign)
    prompt = Prompt((Message(role="user", content="hello"),))
    candidates = [Candidate(prompt.id, text) for text in "abc"]
    store.add_prompts([prompt])
    store.add_candidates(candidates)
    store.add_tasks([Task(prompt.id, (candidates[0].id, candidates[1].id))])
    assert store.waiting() == 3
    store.add_tasks([Task(prompt.id, (candidates[0].id, candidates[2].id))], overlap=1)
    assert store.waiting() == 4


def test_tasks_come_with_what_they_are_about_or_not_at_all(store: Store) -> None:
    campaign, prompt = Campaign(name="pairs"), Prompt((Message(role="user", content="hello"),))
    candidates = [Candidate(prompt.id, text) for text in "ab"]
    about = {"campaign": campaign, "prompts": [prompt], "candidates": candidates}
    pair = tuple(candidate.id for candidate in candidates)
    with pytest.raises(UserError, match="is at version 1"):
        store.add_tasks([Task(prompt.id, pair, "pairs", version=2)], **about)
    assert (store.campaigns(), store.prompts(), store.candidates()) == ([], [], [])
    assert store.add_tasks([Task(prompt.id, pair, "pairs")], **about) == 1
    assert (store.campaigns(), store.prompts()) == ([campaign], [prompt])


def test_what_refers_to_nothing_is_refused(store: Store) -> None:
    with pytest.raises(UserError, match="needs its prompt"):
        store.add_candidates([Candidate("no such prompt", "hello")])
    with pytest.raises(UserError, match="overlap is 0"):
        store.add_tasks([], overlap=0)
    with pytest.raises(UserError, match="no annotator"):
        store.next_assignment("nobody")
    task, other = fill(store, 2)
    with pytest.raises(UserError, match="shows 2"):
        store.add_tasks([Task(task.prompt_id, (task.candidates[0],) * 2)])
    with pytest.raises(UserError, match=r"candidates, in the store first .*Nothing of this step was saved"):
        store.add_tasks([Task(task.prompt_id, ("unknown", task.candidates[0]))])
    with pytest.raises(UserError, match="in the store first"):
        store.add_tasks([Task(task.prompt_id, other.candidates)])
    with pytest.raises(UserError, match='no campaign "other"'):
        store.add_tasks([Task(task.prompt_id, task.candidates, "other")])
    with pytest.raises(UserError, match="finite"):
        store.set_priorities({task.id: float("nan")})
    assert store.set_priorities({task.id: 1.0, "unknown": 2.0}) == 1
    assert store.counts().tasks == 2


def test_a_simulated_annotator_never_passes_for_a_person(store: Store) -> None:
    robot = store.annotator("robot", simulated=True)
    assert store.annotator("  robot ", simulated=True) == robot
    with pytest.raises(UserError, match="simulated annotator"):
        store.annotator("robot")
    ann = store.annotator("ann")
    assert store.annotator("ann") == ann
    with pytest.raises(UserError, match="a person"):
        store.annotator("ann", simulated=True)
    with pytest.raises(UserError, match="1 to 100 characters"):
        store.annotator("   ")
    assert [each.name for each in store.annotators()] == ["ann", "robot"]


def test_a_persons_id_says_nothing_of_the_name(tmp_path: Path) -> None:
    ids = set()
    for name in ("one.db", "two.db"):
        store = Store(tmp_path / name)
        ids.add(store.annotator("ann").id)
        store.close()
    assert len(ids) == 2
