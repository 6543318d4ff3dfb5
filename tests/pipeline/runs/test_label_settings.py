"""The settings of a campaign are kept in the label store: a command changes what it names, and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer
from labeling_ui.store.review.review import TaskReview
from labeling_ui.store.review.texts import Texts
from labeling_ui.store.store import Store
from labeling_ui.web import server
from pipeline.cli.commands import app
from tests.labeling_ui.filling import fill, fill_with, outstanding


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def store(run: Path) -> Iterator[Store]:
    store = Store(run / "labels.db")
    yield store
    store.close()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The labeling app is not started: what it was started with."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(server, "serve", lambda *given: calls.append(given))
    return calls


def label(run: Path, *settings: str, status: int = 0) -> str:
    options = [part for setting in settings for part in ("--set", setting)]
    result = CliRunner().invoke(app, ["label", "--run", str(run), *options])
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


def test_a_start_without_the_earlier_settings_leaves_them_as_they_are(
    run: Path, store: Store, served: list[tuple[Any, ...]]
) -> None:
    fill(store, 2)
    label(run, "label.instructions=Look twice.", "label.rationale=required", "label.overlap=3")
    for settings in ((), ("label.idle_seconds=20",), ("policy.steps=3",)):
        label(run, *settings)
        (now,) = store.campaigns()
        assert (now.instructions, now.rationale, now.overlap) == ("Look twice.", "required", 3)
    assert now.idle_seconds == 20
    assert store.waiting() == 6, "the overlap reaches the tasks that were there"


def test_a_start_leaves_the_instructions_that_a_lead_edited_on_the_page(
    run: Path, store: Store, served: list[tuple[Any, ...]]
) -> None:
    fill(store, 2)
    label(run, "label.instructions=Look twice.")
    review = TaskReview(store.database)
    review.save_texts("main", Texts("Look **three** times."), review.editions("main")[0].number)
    label(run)
    label(run, "label.overlap=3")
    (now,) = store.campaigns()
    assert (now.instructions, now.overlap) == ("Look **three** times.", 3)


def test_what_label_was_told_is_remembered_by_other_commands(
    run: Path, store: Store, served: list[tuple[Any, ...]]
) -> None:
    fill(store, 1)
    label(run, "label.port=7001", "label.overlap=2", "policy.steps=3")
    kept = yaml.safe_load((run / "config.yaml").read_text())
    assert (kept["label"]["port"], kept["label"]["overlap"]) == (7001, 2)
    label(run, "seed=9")
    assert served[-1][2] == 7001
    assert yaml.safe_load((run / "config.yaml").read_text()) == kept, "only its own settings are label's to remember"
    invited = CliRunner().invoke(app, ["users", "invite", "--run", str(run)]).output
    assert "http://127.0.0.1:7001/invitation/" in invited


def test_a_setting_that_goes_back_to_its_default_is_a_change_too(
    run: Path, store: Store, served: list[tuple[Any, ...]]
) -> None:
    fill(store, 1, campaign=Campaign(instructions="Look twice.", overlap=4))
    label(run, "label.overlap=1", "label.instructions=''")
    assert (store.campaigns()[0].overlap, store.campaigns()[0].instructions) == (1, "")


def test_a_new_scale_is_said_to_be_a_new_version(run: Path, store: Store, served: list[tuple[Any, ...]]) -> None:
    campaign = Campaign(kind="rating", scale=5, aspects=("helpful",))
    fill_with(store, campaign, 1, 1)
    shown = store.next_assignment(store.annotator("ann").id)
    assert shown is not None
    store.record(shown.judgement(Answer("rated", ratings={"helpful": {shown.shown[0].id: 5}})))
    output = label(run, "label.scale=9").replace("\n", "")
    assert "scale 9 (was 5)" in output
    assert "version 2" in output
    assert store.versions()["main", 1].campaign.scale == 5


def test_another_kind_is_said_to_be_a_new_version_and_remembered(
    run: Path, store: Store, served: list[tuple[Any, ...]]
) -> None:
    fill(store, 3, gold=1)
    output = label(run, "label.kind=ranking").replace("\n", "")
    assert "kind 'ranking' (was 'pairwise')" in output
    assert "version 2 now. Its tasks are asked anew" in output
    assert "1 known answers say nothing of what is asked now" in output
    label(run)
    assert [(each.name, each.kind) for each in store.campaigns()] == [("main", "ranking")]
    shown = store.next_assignment(store.annotator("ann").id)
    assert shown is not None
    assert (shown.campaign.kind, shown.task.version) == ("ranking", 2)


def test_live_generation_needs_pairs_whatever_a_campaign_was(
    run: Path, store: Store, served: list[tuple[Any, ...]]
) -> None:
    fill(store, 1, campaign=Campaign(live=True))
    output = label(run, "label.kind=ranking", status=2).replace("\n", "")
    assert "cannot be changed like this: live generation shows pairs" in output
    assert not served


def test_a_campaign_without_tasks_is_refused_where_others_have_some(
    run: Path, store: Store, served: list[tuple[Any, ...]]
) -> None:
    fill(store, 2)
    output = label(run, "label.kind=ranking", "label.name=ranks", status=2)
    assert "pairwise" in output
    assert "rlhf collect --set label.kind=ranking --set label.name=rank" in output.replace("\n", "")
    assert [(each.name, each.kind) for each in store.campaigns()] == [("main", "pairwise")]
    assert not served
    assert not (run / "config.yaml").exists(), "what was refused is not remembered"


def test_tasks_of_another_campaign_are_served_where_none_was_asked_for(
    run: Path, store: Store, served: list[tuple[Any, ...]]
) -> None:
    fill_with(store, Campaign(name="ranks", kind="ranking"), 1, 3)
    label(run)
    assert served
    assert [each.name for each in store.campaigns()] == ["ranks"], "no empty campaign is made beside it"


def test_more_annotators_in_doubt_reach_the_tasks_that_are_there(
    run: Path, store: Store, served: list[tuple[Any, ...]]
) -> None:
    fill(store, 2, None)
    shown = store.next_assignment(store.annotator("ann").id)
    assert shown is not None
    store.record(shown.judgement(Answer("preferred", shown.shown[0].id)))
    assert store.waiting() == 1
    assert "max_overlap 3 (was None)" in label(run, "label.max_overlap=3")
    assert store.waiting() == 2
    refused = label(run, "label.overlap=5", status=2)
    assert "max_overlap is 3, and overlap is 5 already" in " ".join(refused.split())
    label(run, "label.max_overlap=null")
    assert store.waiting() == 1


def test_a_qualification_needs_known_answers_for_every_attempt(
    run: Path, store: Store, served: list[tuple[Any, ...]]
) -> None:
    fill(store, 4, gold=3)
    refused = " ".join(label(run, "label.qualification=2", status=2).split())
    assert "that takes 4 known answers" in refused
    assert 'the campaign "main" has 3' in refused
    assert store.campaigns()[0].qualification == 0, "nothing was changed"
    label(run, "label.qualification=2", "label.qualification_attempts=1")
    assert store.campaigns()[0].qualification == 2


def test_a_quota_and_a_deadline_are_set_and_nonsense_is_refused(
    run: Path, store: Store, served: list[tuple[Any, ...]]
) -> None:
    fill(store, 4)
    outstanding(store, store.annotator("ann").id)
    refused = " ".join(label(run, "label.quota=3", status=2).split())
    assert "label.quota is 3, and ann has answered 4" in refused
    refused = " ".join(label(run, "label.deadline=2001-01-01T00:00:00Z", status=2).split())
    assert "label.deadline is 2001-01-01T00:00:00+00:00, which is over" in refused
    assert "timezone" in label(run, "label.deadline=2099-01-01T00:00:00", status=2)
    (now,) = store.campaigns()
    assert (now.quota, now.deadline) == (None, None)
    said = label(run, "label.quota=4", "label.deadline=2099-01-01T00:00:00Z")
    assert "deadline 2099-01-01T00:00:00+00:00 (was None)" in " ".join(said.split())
    label(run)
    (now,) = store.campaigns()
    assert now.deadline is not None
    assert (now.quota, now.deadline.year) == (4, 2099)
    label(run, "label.quota=null", "label.deadline=null")
    (now,) = store.campaigns()
    assert (now.quota, now.deadline) == (None, None)
