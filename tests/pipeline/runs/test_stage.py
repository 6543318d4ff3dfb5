"""Making an output: skipped if it is up to date, set aside if it is not, and taken up again after a crash."""

import json
import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from foundation import sizes, threads
from foundation.errors import UserError
from foundation.files import sha256_of
from foundation.sizes import Sizes, SizesConfig
from pipeline.runs import manifest
from pipeline.runs.folder import Run
from tests.pipeline.runs.outputs import must_not_run, write_adapter, write_pairs
from tests.suite import forked


def test_a_stage_leaves_its_output_and_what_it_was_made_from(run: Run, prompts: Path) -> None:
    record = run.stage("reward", "reward", [prompts], {"epochs": 1}, write_adapter, extra={"label_set": "abc"})
    assert (run.folder / "reward" / "weights" / "adapter.bin").read_text() == "trained"
    manifest = json.loads(run.manifest_path.read_text())["stages"]["reward"]
    assert manifest["basis"]["inputs"] == {"prompts.jsonl": sha256_of(prompts)}
    assert manifest["basis"]["config"] == {"epochs": 1}
    assert manifest["basis"]["extra"] == {"label_set": "abc"}
    assert manifest["basis"]["seed"] == 7
    assert manifest["output_sha256"] == sha256_of(run.folder / "reward")
    assert manifest["figures"] == {"accuracy": 0.75}
    assert {"python", "torch", "transformers", "trl", "peft", "rlhf-pipeline"} <= manifest["versions"].keys()
    assert not record.skipped
    assert run.record("reward") == record
    assert sorted(p.name for p in run.folder.iterdir()) == ["manifest.json", "reward"]


def test_a_finished_stage_is_skipped_and_says_so(run: Run, prompts: Path, said: list[str]) -> None:
    first = run.stage("label", "pairs.jsonl", [prompts], {}, write_pairs)
    again = run.stage("label", "pairs.jsonl", [prompts], {}, must_not_run)
    assert again.skipped
    assert again.figures == first.figures
    assert said == [f"label: already done (0 s on {first.finished[:10]}), skipped."]


def test_superseded_outputs_are_numbered(run: Run) -> None:
    for seed in range(4):
        run.seed = seed
        run.stage("label", "pairs.jsonl", [], {}, write_pairs)
    assert sorted(p.name for p in (run.folder / "superseded").iterdir()) == [
        "label-1.jsonl",
        "label-2.jsonl",
        "label-3.jsonl",
    ]


def test_a_failing_remake_leaves_the_old_output_in_place(run: Run) -> None:
    run.stage("reward", "reward", [], {"epochs": 1}, write_adapter)

    def fail(partial: Path) -> Mapping[str, Any]:
        (partial / "half").write_text("half")
        raise UserError("NaN in the loss at step 3")

    with pytest.raises(UserError, match="NaN"):
        run.stage("reward", "reward", [], {"epochs": 2}, fail)
    assert (run.folder / "reward" / "weights" / "adapter.bin").exists()
    assert run.stage("reward", "reward", [], {"epochs": 1}, must_not_run).skipped


def test_an_output_that_the_run_did_not_make_is_set_aside(run: Run, said: list[str]) -> None:
    (run.folder / "reward").mkdir(parents=True)
    (run.folder / "reward" / "mine.bin").write_text("precious")
    run.stage("reward", "reward", [], {}, write_adapter)
    assert "not made by this run" in said[0]
    assert (run.folder / "superseded" / "reward-1" / "mine.bin").read_text() == "precious"


def test_a_lost_output_is_made_again(run: Run, said: list[str]) -> None:
    run.stage("label", "pairs.jsonl", [], {}, write_pairs)
    (run.folder / "pairs.jsonl").unlink()
    assert not run.stage("label", "pairs.jsonl", [], {}, write_pairs).skipped
    assert "is gone" in said[-1]


def test_a_damaged_output_is_refused_with_the_remedy(run: Run) -> None:
    run.stage("label", "pairs.jsonl", [], {}, write_pairs)
    (run.folder / "pairs.jsonl").write_text("")
    with pytest.raises(UserError, match=r"pairs\.jsonl is not what the stage label made.*delete it"):
        run.stage("label", "pairs.jsonl", [], {}, write_pairs)


def test_a_damaged_input_from_an_earlier_round_is_refused(run: Run) -> None:
    run.stage("policy", "policy", [], {}, write_adapter)
    (run.folder / "policy" / "weights" / "adapter.bin").write_text("cut")
    later = run.new_round()
    with pytest.raises(UserError, match="not what the stage policy made"):
        later.stage("collect", "pairs.jsonl", [run.folder / "policy"], {}, write_pairs)


def test_a_missing_input_is_named(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"reward needs .*none\.jsonl, which does not exist"):
        run.stage("reward", "reward", [tmp_path / "none.jsonl"], {}, write_adapter)


# --- crashes: another process is killed with SIGKILL in one window after another ---


def crash(root: Path, window: str, version: str, output: str) -> None:
    """Make the output, and end in this window; tells whether it was there, and from which step on it was made."""

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def produce(partial: Path) -> Mapping[str, Any]:
        steps = partial / "steps"
        done = int(steps.read_text()) if steps.exists() else 0
        for step in range(done, 4):
            steps.write_text(str(step + 1))
            if window == "producing" and step == 1:
                die()
        (partial / "pairs.jsonl").write_text(version)
        return {"resumed_at": done}

    real_rename, real_write = Path.rename, manifest.Manifest.write

    def rename(self: Path, target: Path) -> Path:
        aside = "superseded" in str(target)
        if window == ("before aside" if aside else "before naming"):
            die()
        result = real_rename(self, target)
        if window == ("after aside" if aside else "after naming"):
            die()
        return result

    def write(self: manifest.Manifest, path: Path) -> None:
        real_write(self, path)
        if window == "after manifest":
            die()

    Path.rename, manifest.Manifest.write = rename, write  # type: ignore[method-assign, assignment]
    record = Run(root).stage("label", output, [], {"version": version}, produce)
    print(record.skipped, record.figures["resumed_at"])


def attempt(root: Path, window: str, version: str, output: str) -> tuple[int, str]:
    """The status of a process that does this, and what it said last."""
    log = root.with_name(f"{root.name}.log")
    status = forked.run(crash, root, window, version, output, log=log)
    return status, (log.read_text().splitlines() or [""])[-1]


@pytest.mark.parametrize("output", ["pairs.jsonl", "pairs"])
@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ("producing", "False 2"),
        ("before aside", "True 0"),
        ("after aside", "True 0"),
        ("before naming", "True 0"),
        ("after naming", "True 0"),
        ("after manifest", "True 0"),
    ],
)
def test_a_killed_stage_goes_on(tmp_path: Path, window: str, expected: str, output: str) -> None:
    assert attempt(tmp_path, "none", "old", output)[0] == 0
    old = Run(tmp_path).record("label")
    assert old is not None
    assert attempt(tmp_path, window, "new", output)[0] == -signal.SIGKILL
    assert attempt(tmp_path, "none", "new", output) == (0, expected)

    run = Run(tmp_path)
    record = run.record("label")
    assert record is not None
    assert sha256_of(run.folder / output) == record.output_sha256
    file = run.folder / output if output.endswith("jsonl") else run.folder / output / "pairs.jsonl"
    assert file.read_text() == "new"
    (superseded,) = run.manifest().superseded
    assert superseded.output_sha256 == old.output_sha256 == sha256_of(run.folder / superseded.output)
    assert sorted(p.name for p in run.folder.iterdir()) == sorted(["manifest.json", output, "superseded"])


def test_a_killed_attempt_at_something_else_is_not_continued(tmp_path: Path) -> None:
    attempt(tmp_path, "producing", "first", "pairs")
    assert attempt(tmp_path, "none", "second", "pairs") == (0, "False 0")


def test_the_time_before_a_crash_is_counted(run: Run) -> None:
    def interrupted(partial: Path) -> Mapping[str, Any]:
        (partial / "checkpoint").write_text("half")
        later = os.stat(partial).st_mtime + 100
        os.utime(partial / "checkpoint", (later, later))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.stage("label", "pairs.jsonl", [], {}, interrupted)
    assert 95 < run.stage("label", "pairs.jsonl", [], {}, write_pairs).seconds < 190


# --- several processes of one command ---


def test_only_the_main_process_writes_and_all_agree(tmp_path: Path) -> None:
    both = threading.Barrier(2)
    ran: list[bool] = []
    records: dict[bool, list[bool]] = {True: [], False: []}

    def wait() -> None:
        both.wait(timeout=120)

    def work(is_main: bool) -> None:
        run = Run(tmp_path, is_main=is_main, barrier=wait)

        def produce(partial: Path) -> Mapping[str, Any]:
            ran.append(is_main)
            return write_pairs(partial) if is_main else {}

        for _ in range(2):
            records[is_main].append(run.stage("label", "pairs.jsonl", [], {}, produce).skipped)

    other = threading.Thread(target=work, args=(False,))
    other.start()
    work(True)
    other.join(timeout=120)
    assert sorted(ran) == [False, True]
    assert records == {True: [False, True], False: [False, True]}


def test_a_resumed_stage_keeps_the_threads_that_it_began_with(run: Run, said: list[str]) -> None:
    used = []

    def produce(partial: Path) -> Mapping[str, Any]:
        used.append(threads.number())
        if len(used) == 1:
            raise KeyboardInterrupt
        return write_adapter(partial)

    began = threads.number()
    with pytest.raises(KeyboardInterrupt):
        run.stage("reward", "reward", [], {}, produce)
    with threads.using(began + 1):
        record = run.stage("reward", "reward", [], {}, produce)
        assert threads.number() == began + 1
    assert (used, record.threads) == ([began, began], began)
    assert said[-1].startswith(f"reward: with {began} threads as it began, not {began + 1}: results depend on it.")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[Sizes]:
    """What the device has room for, which a stage measures when it loads a base."""
    monkeypatch.setattr(sizes, "_found", {})
    return [Sizes(sample_rows=512, sample_tokens=30_000)]


def interrupted_once(used: list[Sizes], free: list[Sizes]) -> Callable[[Path], Mapping[str, Any]]:
    def produce(partial: Path) -> Mapping[str, Any]:
        used.append(sizes.settle(("model", len(used)), lambda: free[-1]))
        if len(used) == 1:
            raise KeyboardInterrupt
        return write_adapter(partial)

    return produce


def test_a_resumed_stage_keeps_the_sizes_that_it_began_with(run: Run, said: list[str], free: list[Sizes]) -> None:
    used: list[Sizes] = []
    produce = interrupted_once(used, free)
    with pytest.raises(KeyboardInterrupt):
        run.stage("reward", "reward", [], {}, produce)
    free.append(Sizes(sample_rows=512, sample_tokens=10_000))  # another program has taken some
    record = run.stage("reward", "reward", [], {}, produce)
    assert used == [free[0], free[0]]
    assert run.record("reward") == record
    assert record.sizes == free[0]
    assert "as it began, up to 512 responses of 30,000 tokens together sampled" in said[-1]


def test_a_resumed_stage_takes_the_sizes_that_the_user_sets(run: Run, said: list[str], free: list[Sizes]) -> None:
    used: list[Sizes] = []
    produce = interrupted_once(used, free)
    with pytest.raises(KeyboardInterrupt):
        run.stage("reward", "reward", [], {}, produce)
    with sizes.asking(SizesConfig(sample_rows=8, logit_mib=3)):
        record = run.stage("reward", "reward", [], {}, produce)
    assert record.sizes == used[1] == Sizes(sample_rows=8, logit_bytes=3 << 20)
    assert said[-1] == "reward: going on where it was interrupted."


def test_a_stage_has_the_same_sizes_throughout_and_none_where_it_loads_no_model(run: Run, free: list[Sizes]) -> None:
    def produce(partial: Path) -> Mapping[str, Any]:
        first = sizes.settle("model", lambda: free[0])
        assert sizes.settle("another model", lambda: Sizes(sample_rows=2)) == first
        return write_adapter(partial)

    assert run.stage("reward", "reward", [], {}, produce).sizes == free[0]
    assert run.stage("policy", "policy", [], {}, write_adapter).sizes is None
