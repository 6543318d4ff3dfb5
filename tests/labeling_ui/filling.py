"""Small label stores for tests."""

from rlhf_pipeline.labeling_ui.records import Candidate, Message, Prompt, Task
from rlhf_pipeline.labeling_ui.store import Store


def fill(store: Store, pairs: int, overlap: int = 1) -> list[Task]:
    """Add `pairs` prompts with two candidates and a task each."""
    prompts = [Prompt((Message(role="user", content=f"question {number}"),)) for number in range(pairs)]
    good = [Candidate(prompt.id, "a good answer") for prompt in prompts]
    bad = [Candidate(prompt.id, "a bad answer") for prompt in prompts]
    tasks = [Task(prompt.id, g.id, b.id) for prompt, g, b in zip(prompts, good, bad, strict=True)]
    store.add_prompts(prompts)
    store.add_candidates(good + bad)
    store.add_tasks(tasks, overlap)
    return tasks


class Clock:
    """A clock that tests move by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now
