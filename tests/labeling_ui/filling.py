"""Small label stores for tests."""

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Assignment, Candidate, Judgement, Message, Prompt, Task
from labeling_ui.store.store import Store

TIE = Answer("tie")
LEASE = Campaign().lease_minutes * 60


def fill(
    store: Store, pairs: int, overlap: int | None = 1, *, campaign: Campaign | None = None, gold: int = 0,
    asked: str = "question",
) -> list[Task]:  # fmt: skip
    """Add `pairs` prompts with two candidates and a task each; the good one wins the first `gold` of them.

    Without a campaign, nothing is mixed in and nothing is drawn at random.
    """
    campaign = campaign or Campaign(gold_share=0, repeat_share=0, random_share=0)
    prompts = [Prompt((Message(role="user", content=f"{asked} {number}"),)) for number in range(pairs)]
    good = [Candidate(prompt.id, "a good answer") for prompt in prompts]
    bad = [Candidate(prompt.id, "a bad answer") for prompt in prompts]
    tasks = [
        Task(prompt.id, (g.id, b.id), campaign.name, gold=Answer("preferred", winner=g.id) if number < gold else None)
        for number, (prompt, g, b) in enumerate(zip(prompts, good, bad, strict=True))
    ]
    store.add_campaign(campaign)
    store.add_prompts(prompts)
    store.add_candidates(good + bad)
    store.add_tasks(tasks, overlap)
    return tasks


def fill_with(store: Store, campaign: Campaign, prompts: int, responses: int, overlap: int = 1) -> list[Task]:
    """Add prompts with so many candidates each, all of them in one task: for rankings and ratings."""
    asked = [Prompt((Message(role="user", content=f"question {number}"),)) for number in range(prompts)]
    drawn = {prompt.id: [Candidate(prompt.id, f"answer {n}") for n in range(responses)] for prompt in asked}
    tasks = [Task(key, tuple(candidate.id for candidate in found), campaign.name) for key, found in drawn.items()]
    store.add_campaign(campaign)
    store.add_prompts(asked)
    store.add_candidates(candidate for found in drawn.values() for candidate in found)
    store.add_tasks(tasks, overlap)
    return tasks


def prefer(shown: Assignment, side: int = 0, strength: int | None = None, seconds: float | None = None,
           key: str = "") -> Judgement:  # fmt: skip
    """The judgement that the response at this place (from the left) is better."""
    return shown.judgement(Answer("preferred", shown.shown[side].id, strength), seconds, key)


def outstanding(store: Store, annotator_id: str) -> list[str]:
    """Ids of the tasks that the annotator is given until none is left, all answered as a tie."""
    seen = []
    while shown := store.next_assignment(annotator_id):
        seen.append(shown.task.id)
        assert store.record(shown.judgement(TIE)) == "taken"
    return seen


class Clock:
    """A clock that tests move by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now
