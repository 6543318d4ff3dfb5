"""A verdict says who voted: people, simulated annotators, both, or nobody; and what is written of it says the same."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from foundation.files import Row
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer, Prompt
from labeling_ui.store.store import Store
from pipeline.champion.history import Champion, Decision
from pipeline.champion.promotion import against
from pipeline.runs.folder import Run
from pipeline.verdict import telling
from pipeline.verdict.ballots import candidates_of, task_of
from pipeline.verdict.standing import Plan, standing
from policy.model_card import _metrics, _verdict_line
from tests.pipeline import tiny

PLAN = Plan(
    campaign="verdict-000-1", candidate={"round": 0, "sha256": "x"}, champion={"name": "base", "sha256": None},
    judges=1, alpha=0.05, margin=0.5,
)  # fmt: skip
BASE = Champion("base", None, None)


def pairs(candidate: str, champion: str, number: int = 12) -> list[Row]:
    prompts = [Prompt(tuple(tiny.ask(f"tell me of number {at}"))) for at in range(number)]
    return [
        {"prompt_id": each.id, "prompt": list(each.messages), "candidate": candidate, "champion": champion,
         "finish_reason": {"candidate": "stop", "champion": "stop"}, "scores": {}}
        for each in prompts
    ]  # fmt: skip


def verdict(path: Path, asked: Sequence[Row], people: int = 0, programs: int = 0) -> dict[str, Any]:
    """The verdict after so many votes for the candidate."""
    store = Store(path / "labels.db")
    store.add_campaign(Campaign().for_verdict(PLAN.campaign, 1))
    store.add_prompts(Prompt(tuple(pair["prompt"])) for pair in asked)
    store.add_candidates(one for pair in asked for one in candidates_of(pair).values())
    if asked[0]["candidate"].strip() and asked[0]["candidate"] != asked[0]["champion"]:
        store.add_tasks(task_of(pair, PLAN.campaign) for pair in asked)
    won = {candidates_of(pair)["candidate"].id for pair in asked}
    for name, simulated, votes in (("ann", False, people), ("simulated-ann", True, programs)):
        who = store.annotator(name, simulated).id
        for _ in range(votes):
            shown = store.next_assignment(who)
            assert shown is not None
            store.record(shown.judgement(Answer("preferred", next(each.id for each in shown.shown if each.id in won))))
    found = standing(store, PLAN, asked)
    store.close()
    return found


@pytest.mark.parametrize(
    ("candidate", "outcome", "said"),
    [("a", "undecided", "12 identical, 0 empty responses"), ("", "not_better", "0 identical, 7 empty responses")],
)
def test_what_nobody_voted_on_is_by_nobody(
    candidate: str, outcome: str, said: str, tmp_path: Path, console: Console
) -> None:
    found = verdict(tmp_path, pairs(candidate, "a"))
    assert (found["by"], found["judgements"], found["outcome"]) == ("nobody", 0, outcome)
    (reason,) = against(found, BASE, Run(tmp_path))
    line = _verdict_line(found)
    telling.decided(console, Run(tmp_path), found)
    for text in (reason, line, tiny.printed(console)):
        assert "decided without a judge" in text
        assert said.split(",")[1].strip() in text
        assert "people" not in text
    assert line.startswith("**No person has judged this adapter.**")
    assert _metrics(found, {}) == []
    Decision(
        at="", action="kept", round=0, candidate=None, candidate_sha256=None, champion="base", sha256=None,
        reason=reason, by=found["by"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("people", "programs", "by", "words"),
    [
        (12, 0, "people", "by people:"),
        (0, 12, "simulated", "by simulated annotators, and by no person:"),
        (1, 11, "mixed", "by people and simulated annotators together:"),
        (3, 2, "mixed", "by people and simulated annotators together:"),
    ],
)
def test_votes_of_people_and_of_programs_are_not_called_either_alone(
    people: int, programs: int, by: str, words: str, tmp_path: Path, console: Console
) -> None:
    found = verdict(tmp_path, pairs("a", "b"), people, programs)
    assert found["by"] == by
    assert words in _verdict_line(found | {"outcome": "better"})
    assert [name.partition(", ")[2] for _, name, _ in _metrics(found, {})] == [words.partition(", and")[0].strip(":")]
    telling.decided(console, Run(tmp_path), found | {"outcome": "better"})
    shown = tiny.printed(console)
    assert ("no person was asked" in shown) == (by == "simulated")
    assert (f"{min(programs, found['judgements'] - people)} of these judgements are by SIMULATED" in shown) == (
        by == "mixed"
    )


@pytest.fixture
def console(tmp_path: Path) -> Console:
    return tiny.opened(tmp_path, [])[2]
