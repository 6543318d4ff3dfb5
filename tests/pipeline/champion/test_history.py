"""Who is the champion, and which champions are refused."""

import shutil
from pathlib import Path

import pytest

from foundation.errors import UserError
from foundation.files import sha256_of
from pipeline.champion.history import BASE, Decision, append, before, current, history, now
from pipeline.config.config import Config
from pipeline.preflight.checks import check
from pipeline.runs.folder import Run
from tests.conftest import make_tiny_model
from tests.pipeline import tiny
from tests.pipeline.runs.test_content import flip_last_byte


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Run:
    return Run(shutil.copytree(finished, tmp_path / "run"))


def promoted(run: Run) -> Decision:
    sha = sha256_of(run.folder / "policy")
    return Decision(
        at=now(), action="promoted", round=0, candidate="round-000", candidate_sha256=sha, champion="round-000",
        sha256=sha, reason="people preferred it", by="people",
    )  # fmt: skip


def test_the_base_is_the_champion_of_a_run_without_decisions(run: Run, tmp_path: Path) -> None:
    assert current(run) == current(Run(tmp_path / "new")) == (BASE, None, None)
    assert not (tmp_path / "new").exists()


def test_the_last_decision_says_who_is_the_champion_and_the_earlier_ones_stay(run: Run) -> None:
    first = promoted(run)
    append(run, first)
    assert current(run) == ("round-000", run.folder / "policy", first.sha256)
    back = first.model_copy(update={"action": "rolled_back", "champion": BASE, "sha256": None, "by": "hand"})
    append(run, back)
    assert current(run).name == BASE
    assert history(run) == [first, back]


@pytest.mark.parametrize(
    ("decisions", "earlier"),
    [
        ("", ""),
        ("+0", "b"),
        ("+0 +1", "b 0"),
        ("+0 +1 -0", "b"),
        ("+0 +1 -b", ""),
        ("+0 +1 -b +2", "b"),
        ("+0 =0 +1 =1", "b 0"),
        ("+0 -b -0", "b"),
        ("+0 +1 -b -1 +2", "b 1"),
        ("+0 +1 +0 -1", "b 0"),
    ],
)
def test_the_champions_before_are_those_that_were_replaced_and_not_taken_back(decisions: str, earlier: str) -> None:
    """ "+" promotes, "-" goes back, "=" keeps the champion; "b" is the base."""
    actions = {"+": "promoted", "-": "rolled_back", "=": "kept"}
    decided = [
        Decision.model_construct(action=actions[each[0]], champion=each[1], sha256=each[1])
        for each in decisions.split()
    ]
    named = [
        each.model_copy(update={"champion": BASE, "sha256": None}) if each.champion == "b" else each for each in decided
    ]
    assert [name[0] for name, _ in before(named)] == earlier.split()


def test_a_champion_that_was_changed_is_refused_with_both_hashes(run: Run) -> None:
    append(run, promoted(run))
    before = sha256_of(run.folder / "policy")
    flip_last_byte(run.folder / "policy" / "adapter_model.safetensors")
    with pytest.raises(UserError, match=f"(?s){before}.*{sha256_of(run.folder / 'policy')}"):
        current(run)


def test_a_champion_whose_round_was_deleted_is_told_plainly(run: Run) -> None:
    append(run, promoted(run))
    shutil.rmtree(run.folder)
    with pytest.raises(UserError, match=r"the champion is round-000, but .*policy is gone.*rlhf rollback"):
        current(run)


def test_a_champion_that_was_made_anew_since_is_found_where_it_was_set_aside(run: Run) -> None:
    append(run, promoted(run))
    record = run.manifest().stages["policy"]
    manifest = run.manifest()
    manifest.superseded.append(record.model_copy(update={"output": "superseded/policy-1"}))
    manifest.stages["policy"] = record.model_copy(update={"output_sha256": "0" * 64})
    manifest.write(run.manifest_path)
    (run.folder / "superseded").mkdir()
    (run.folder / "policy").rename(run.folder / "superseded" / "policy-1")
    assert current(run).adapter == run.folder / "superseded" / "policy-1"


def test_a_champion_of_another_base_is_refused_and_one_that_moved_is_not(
    run: Run, tiny_settings: list[str], tiny_model: Path, tmp_path: Path
) -> None:
    append(run, promoted(run))
    config: Config = tiny.opened(run.path, tiny_settings)[1]
    moved = shutil.copytree(tiny_model, tmp_path / "moved")
    other = make_tiny_model(tmp_path / "other", seed=1)
    for model in (tiny_model, moved):
        assert current(run, config.model_copy(update={"model": str(model)})).name == "round-000"
    with pytest.raises(UserError, match=f"tuned on the model {tiny_model}, and the configuration names {other}"):
        current(run, config.model_copy(update={"model": str(other)}))
    told = check(config.model_copy(update={"model": str(other)}), [], run).reasons
    assert any("means nothing on another base" in reason for reason in told)
    assert not any("means nothing on another base" in reason for reason in check(config, [], run).reasons)


def test_a_damaged_history_is_refused(run: Run) -> None:
    (run.path / "champion.json").write_text('{"history": [{"action": "crowned"}]}')
    with pytest.raises(UserError, match=r"champion\.json cannot be read"):
        current(run)
