"""Twelve states of a run, each with what it waits for and the right next command; all of it without a model."""

import fcntl
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foundation.errors import UserError
from foundation.files import write_json
from labeling_ui.data_model import Answer
from labeling_ui.store.store import Store
from pipeline import promoting
from pipeline.cli.commands import app
from pipeline.config.config import Config
from pipeline.inspection.facts import facts_of
from pipeline.inspection.status import Step, next_step
from pipeline.runs.folder import Run
from pipeline.runs.lock import RunLock
from reward_model.rewards.registry import RewardSpec
from tests.pipeline import tiny
from tests.pipeline.champion.verdicts import GENEROUS, decide


@pytest.fixture
def config(tiny_settings: list[str]) -> Config:
    return tiny.opened(Path("unused"), [*tiny_settings, *GENEROUS])[1]


@pytest.fixture
def done(finished: Path, tmp_path: Path) -> Run:
    """A run that is evaluated and exported, and on which there is no verdict yet."""
    return Run(shutil.copytree(finished, tmp_path / "run"))


def step(run: Run, config: Config) -> Step:
    return next_step(facts_of(Run(run.path), config))


def without(run: Run, *stages_: str) -> None:
    """Take stages away, as if they had not been run."""
    manifest = run.manifest()
    for name in stages_:
        output = run.folder / manifest.stages.pop(name).output
        shutil.rmtree(output) if output.is_dir() else output.unlink()
    manifest.write(run.manifest_path)


@pytest.fixture
def collected(done: Run) -> Run:
    """Its pairs are asked, and nobody has answered."""
    without(done, *[name for name in done.manifest().stages if name not in ("prompts", "collect")])
    store = Store(done.database)
    before, candidates = store.prompts(), store.candidates()
    tasks, campaigns = store.tasks(), store.campaigns()
    store.close()
    done.database.unlink()
    store = Store(done.database)
    for campaign in campaigns:
        store.add_campaign(campaign)
    store.add_prompts(before)
    store.add_candidates(candidates)
    store.add_tasks(task for task in tasks if task.repeat_of is None)
    store.close()
    return done


def judge(run: Run, number: int) -> None:
    store = Store(run.database)
    ann = store.annotator("Ann")
    for key in range(number):
        given = store.next_assignment(ann.id)
        assert given
        store.record(given.judgement(Answer("preferred", given.shown[0].id, 1), key=f"key-{number}-{key}"))
    store.close()


def test_nothing(config: Config, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    found = step(Run(tmp_path / "run"), config)
    assert (found.state, found.next) == ("nothing", f"rlhf collect --run {tmp_path / 'run'}")
    assert list((tmp_path / "run").iterdir()) == []


def test_commands_can_be_typed_where_names_have_spaces(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "my run")
    run.path.mkdir()
    assert shlex.split(step(run, config).next) == ["rlhf", "collect", "--run", str(run.path)]
    with pytest.raises(UserError) as refused:
        run.artifact("policy")
    assert f"`rlhf policy --run '{run.path}'`" in str(refused.value)
    typed = ["rlhf", "loop", "--run", "my run", "--set", 'rewards=[{"name": "length"}]']
    monkeypatch.setattr(sys, "argv", typed)
    with run.lock():
        held = run.lock.last()
    assert shlex.split(held.removeprefix('"').rpartition('"')[0]) == typed


def test_collected(collected: Run, config: Config) -> None:
    found = step(collected, config)
    assert (found.state, found.next) == ("collected", f"rlhf label --run {collected.path}")
    assert "annotators" in found.who


def test_half_judged(collected: Run, config: Config) -> None:
    before = step(collected, config)
    judge(collected, 2)
    found = step(collected, config)
    assert (found.state, found.next) == ("half judged", f"rlhf label --run {collected.path}")
    assert int(found.waits_for.split()[0]) == int(before.waits_for.split()[0]) - 2


def test_judged(done: Run, config: Config) -> None:
    without(done, "export", "evaluate", "policy", "reward")
    assert step(done, config)[::3] == ("judged", f"rlhf reward --run {done.path}")


def test_reward_weak(done: Run, config: Config) -> None:
    without(done, "export", "evaluate", "policy")
    manifest = done.manifest()
    reward = manifest.stages["reward"]
    gate = {"gate": "weak", "gate_reason": "length alone is right as often"}
    manifest.stages["reward"] = reward.model_copy(update={"figures": reward.figures | gate})
    manifest.write(done.manifest_path)
    accepted = config.policy.model_copy(update={"accept_weak_reward": True})
    assert step(done, config.model_copy(update={"policy": accepted})).state == "rewarded"
    asking = config.policy.model_copy(update={"accept_weak_reward": False})
    found = step(done, config.model_copy(update={"policy": asking}))
    assert found.state == "reward weak"
    assert found.next == f"rlhf collect --set collect.candidates=6 --run {done.path}"
    assert "length alone is right as often" in found.waits_for
    assert f"rlhf policy --accept-weak-reward --run {done.path}" in found.who


def weak(run: Run) -> None:
    """Let the round's reward model be weak, and leave the round without a policy."""
    without(run, "export", "evaluate", "policy")
    manifest = run.manifest()
    reward = manifest.stages["reward"]
    manifest.stages["reward"] = reward.model_copy(update={"figures": reward.figures | {"gate": "weak"}})
    manifest.write(run.manifest_path)


def with_policy(config: Config, **changes: object) -> Config:
    return config.model_copy(update={"policy": config.policy.model_copy(update=changes)})


def test_labels_that_came_after_a_weak_reward_lead_to_another_one(done: Run, config: Config) -> None:
    weak(done)
    asking = with_policy(config, accept_weak_reward=False)
    assert step(done, asking).state == "reward weak"
    store = Store(done.database)
    first = next(store.judgements())
    shown = store.assignment(first.task_id, first.annotator_id)
    store.record(shown.judgement(Answer("both_bad"), key="new", action="edit"))
    store.close()
    assert step(done, asking)[::3] == ("judged", f"rlhf reward --run {done.path}")


def test_a_weak_reward_is_no_obstacle_where_the_policy_does_not_learn_from_it(done: Run, config: Config) -> None:
    weak(done)
    asking = with_policy(config, accept_weak_reward=False)
    programmed = asking.model_copy(update={"rewards": (RewardSpec(name="length", target=3, unit="tokens"),)})
    for each in (programmed, with_policy(asking, algorithm="dpo")):
        assert step(done, each)[::3] == ("rewarded", f"rlhf policy --run {done.path}")
    without(done, "reward")
    assert step(done, programmed)[::3] == ("judged", f"rlhf policy --run {done.path}"), "nothing is not the word"


def test_an_accepted_reward_goes_on_to_the_policy_and_it_to_its_evaluation(done: Run, config: Config) -> None:
    config = config.model_copy(update={"policy": config.policy.model_copy(update={"accept_weak_reward": True})})
    without(done, "export", "evaluate")
    assert step(done, config)[::3] == ("tuned", f"rlhf evaluate --run {done.path}")
    without(done, "policy")
    assert step(done, config)[::3] == ("rewarded", f"rlhf policy --run {done.path}")


def begin_policy(run: Run) -> None:
    """What a policy stage leaves when it is interrupted in its third step."""
    record = run.manifest().stages["policy"]
    without(run, "export", "evaluate", "policy")
    partial = run.folder / ".policy.partial"
    partial.mkdir()
    (partial / "log.jsonl").write_text('{"step": 0}\n{"step": 1}\n')
    write_json(run.folder / ".policy.journal.json", {"basis": record.basis.model_dump(mode="json"), "began": 0.0})


@contextmanager
def held(run: Run, command: str) -> Iterator[subprocess.Popen[str]]:
    """The run's lock in the hands of another process, which says that it runs this command."""
    holder = (
        "import sys; from pathlib import Path; from pipeline.runs.folder import Run\n"
        "path, sys.argv = Path(sys.argv[1]), ['rlhf', *sys.argv[2].split()]\n"
        "with Run(path).lock(): print('held', flush=True); sys.stdin.read()"
    )
    line = [sys.executable, "-c", holder, str(run.path), command]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize("command", ["policy --run mine --set policy.steps=4", "loop --run mine --rounds 2"])
def test_policy_running_and_killed(done: Run, config: Config, command: str) -> None:
    begin_policy(done)
    with held(done, command) as process:
        found = step(done, config)
        assert (found.state, found.next) == ("policy running", f"rlhf status --run {done.path}")
        assert found.waits_for == f'"rlhf {command}" (process {process.pid}) (2 of 4 steps)'
    found = step(done, config)
    assert (found.state, found.next) == ("killed", f"rlhf {command}"), "the same command, as it was typed"
    assert "2 of 4 steps" in found.waits_for


def test_killed_before_a_command_that_was_another(done: Run, config: Config) -> None:
    begin_policy(done)
    with held(done, "rollback --run mine"):
        pass
    assert step(done, config).next == f"rlhf policy --run {done.path}"


def test_no_verdict_is_asked_for_that_is_not_wanted_or_can_never_be_decided(done: Run, config: Config) -> None:
    assert step(done, config)[::3] == ("tuned", f"rlhf loop --rounds 2 --run {done.path} --simulate"), "four prompts"
    off = config.model_copy(update={"verdict": config.verdict.model_copy(update={"enabled": False})})
    assert step(done, off)[::3] == ("tuned", f"rlhf loop --rounds 2 --run {done.path} --simulate")


def test_won_and_lost_and_undecided(done: Run, config: Config) -> None:
    next_round = f"rlhf loop --rounds 2 --run {done.path} --simulate"
    for outcome, state, command in (
        ("better", "won", f"rlhf promote --run {done.path}"),
        ("not_better", "lost", next_round),
        ("undecided", "lost", next_round),
    ):
        decide(done, outcome)
        assert step(done, config)[::3] == (state, command)


def test_a_verdict_that_was_asked_for_counts_where_the_loop_would_ask_nobody(done: Run, config: Config) -> None:
    off = config.model_copy(update={"verdict": config.verdict.model_copy(update={"enabled": False})})
    programmed = config.model_copy(update={"rewards": (RewardSpec(name="length", target=3, unit="tokens"),)})
    decide(done)
    assert step(done, off).state == "won"
    done.database.unlink()
    assert step(done, programmed).state == "won"


Opened = tuple[Run, Config]


@pytest.fixture
def decided(done: Run, tiny_settings: list[str]) -> Callable[[str], Opened]:
    """The run after a decision on a verdict of this outcome."""

    def make(outcome: str) -> Opened:
        run, config, console = tiny.opened(done.path, [*tiny_settings, *GENEROUS])
        decide(run, outcome)
        promoting.promote(run, config, console)
        return run, config

    return make


def test_promoted(decided: Callable[[str], Opened]) -> None:
    run, config = decided("better")
    assert step(run, config)[::3] == ("promoted", f"rlhf loop --rounds 2 --run {run.path} --simulate")
    without(run, "export")
    assert step(run, config)[::3] == ("promoted", f"rlhf export --run {run.path}")


def test_lost_and_kept(decided: Callable[[str], Opened]) -> None:
    run, config = decided("not_better")
    found = step(run, config)
    assert (found.state, found.waits_for) == ("lost", "the next round, from base")


def test_rolled_back(decided: Callable[[str], Opened]) -> None:
    run, config = decided("better")
    promoting.roll_back(run, config, tiny.opened(run.path, [])[2], None, "it answers rudely")
    found = step(run, config)
    assert (found.state, found.next) == ("rolled back", f"rlhf loop --rounds 2 --run {run.path} --simulate")
    assert found.waits_for == "the next round, from base"


def test_a_champion_that_is_gone_is_told_with_the_way_back(decided: Callable[[str], Opened]) -> None:
    run, _ = decided("better")
    (run.path / "round-002").mkdir()
    shutil.rmtree(run.folder)
    result = CliRunner().invoke(app, ["status", "--run", str(run.path)])
    shown = " ".join(result.stdout.split())
    assert "champion gone" in shown
    assert "next: rlhf rollback --reason" in shown
    assert "round-000, round-001: what came from there cannot be traced" in shown


def test_the_same_is_printed_for_people_and_for_programs(decided: Callable[[str], Opened]) -> None:
    run, config = decided("better")
    set_ = [part for each in GENEROUS for part in ("--set", each)]
    shown = CliRunner().invoke(app, ["status", "--run", str(run.path), *set_]).stdout
    found = json.loads(CliRunner().invoke(app, ["status", "--json", "--run", str(run.path), *set_]).stdout)
    for name in ("state", "next"):
        assert found[name] == getattr(step(run, config), name)
    assert f"next: {found['next']}" in " ".join(shown.split())
    assert len(shown.splitlines()) <= 24, "one screen"
    assert found["champion"].startswith("round-000 (weights ")
    assert "70%" in found["verdict"]


def test_the_status_loads_no_model_library_and_takes_no_lock(done: Run) -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom pipeline.cli.commands import app\n"
        "result = CliRunner().invoke(app, ['status', '--run', sys.argv[1]])\n"
        "print(result.exit_code, 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    with held(done, "loop"):
        before = {path: path.stat().st_mtime_ns for path in done.path.rglob("*")}
        shown = subprocess.run(
            [sys.executable, "-c", code, str(done.path)], capture_output=True, text=True, timeout=120
        )
        assert shown.stdout.split() == ["0", "False", "False"], shown.stderr
        assert {path: path.stat().st_mtime_ns for path in done.path.rglob("*")} == before


def test_a_lock_that_nobody_holds_has_no_holder(tmp_path: Path) -> None:
    lock = RunLock(tmp_path / ".lock")
    assert lock.holder() is None
    with lock():
        assert lock.holder() is None, "it is our own"
    assert lock.holder() is None
    with (tmp_path / ".lock").open("r+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # asking has left nothing behind
