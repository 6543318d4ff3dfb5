"""What is told of a finished run, on the terminal, in summary.json and in the report; and how progress is told."""

import shutil
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from foundation.files import read_json
from labeling_ui.store.store import Store
from pipeline import stages
from pipeline.config.config import Config
from pipeline.inspection.facts import facts_of
from pipeline.inspection.status import next_step
from pipeline.reporting import figures as summary
from pipeline.reporting.data import ReportData
from pipeline.reporting.report import number, render
from pipeline.runs.folder import Run
from pipeline.runs.manifest import Manifest
from pipeline.terminal import progress as progress_module
from pipeline.terminal.progress import progress
from tests.pipeline import tiny


def test_summary_json_holds_the_runs_figures(finished: Path) -> None:
    found = read_json(finished / "summary.json")
    assert list(found) == [
        "seconds", "win_rate", "win_rate_low", "win_rate_high", "judge", "mean_kl", "kl_target", "words_ratio",
        "distinct2_ratio", "adapter", "report",
    ]  # fmt: skip
    evaluation = read_json(finished / "round-000" / "evaluation.json")
    rate = evaluation["sampled"]["win_rates"]["simulated preference"]
    assert [found[name] for name in ("win_rate", "win_rate_low", "win_rate_high")] == [
        rate[name] for name in ("win_rate", "low", "high")
    ]
    assert (found["mean_kl"], found["distinct2_ratio"]) == (evaluation["mean_kl"], evaluation["distinct2_ratio"])
    assert found["judge"] == "simulated preference"
    assert Path(found["report"]).is_file()
    assert (Path(found["adapter"]) / "adapter_model.safetensors").is_file()
    records = Manifest.read(finished / "round-000" / "manifest.json").stages.values()
    assert found["seconds"] == pytest.approx(sum(record.seconds for record in records), abs=0.06)


def test_every_measured_figure_stands_with_its_interval(finished: Path, tiny_settings: list[str]) -> None:
    run, config, console = tiny.opened(finished, tiny_settings)
    found = summary.summarise(run)
    assert found is not None
    console.print(summary.table(run, found))
    lines = [line for line in tiny.printed(console).splitlines() if "│" in line]
    for name in ("KL from the base", "length in words", "policy beats base", "reward model, held-out"):
        (line,) = [each for each in lines if name in each]
        assert "(95% interval " in line
    store = Store(run.database)
    page = render(summary.report_data(run, config, store))
    store.close()
    low, high = read_json(run.folder / "evaluation.json")["sampled"]["kl_interval"]
    tile = " ".join(page.split("Mean KL from base")[1].split("</div>")[0].split())
    assert f"nats per response, {number(low)} to {number(high)}" in tile


def test_before_the_evaluation_there_is_nothing_to_sum_up(tmp_path: Path, tiny_settings: list[str]) -> None:
    run, config, _ = tiny.opened(tmp_path, tiny_settings)
    assert summary.summarise(run) is None
    store = Store(run.database)
    data = summary.report_data(run, config, store)
    store.close()
    assert (data.reward, data.evaluation, data.adapter, data.training) == (None, None, "", ())


def test_the_report_is_given_everything_that_was_made(finished: Path, tiny_settings: list[str]) -> None:
    run, config, _ = tiny.opened(finished, tiny_settings)
    store = Store(run.database)
    data = summary.report_data(run, config, store)
    store.close()
    assert data.labels is not None
    assert data.reward is not None
    assert data.evaluation is not None
    assert data.labels.simulated_judgements == data.labels.judgements == sum(data.labels.by_verdict.values())
    assert all(annotator.simulated for annotator in data.labels.annotators)
    assert len(data.training) == config.policy.steps
    assert {rate.name: rate.simulated for rate in data.evaluation.win_rates} == {
        "sampled, by the simulated preference": True, "sampled, by the reward model": False,
        "greedy, by the simulated preference": True, "greedy, by the reward model": False,
    }  # fmt: skip
    best, worst = data.evaluation.pairs[0], data.evaluation.pairs[-1]
    assert best.policy_score - best.base_score >= worst.policy_score - worst.base_score
    assert [row.stage for row in data.manifest] == list(run.manifest().stages)


def test_the_report_says_how_the_policy_fares_against_best_of_n(
    finished: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    run, config, console = tiny.opened(tmp_path / "run", [*tiny_settings, "evaluate.best_of_n=3"])
    stages.evaluate(run, config, console)
    store = Store(run.database)
    data = summary.report_data(run, config, store)
    store.close()
    assert data.evaluation is not None
    against = {rate.name: rate.value for rate in data.evaluation.win_rates if "best of 3" in rate.name}
    found = read_json(run.folder / "evaluation.json")["sampled"]["best_of_n"]["win_rates"]
    assert against == {
        f"sampled, against the best of 3 of the base's, by the {judge}": found[judge]["win_rate"]
        for judge in ("simulated preference", "reward model")
    }


def test_the_table_and_the_snippet_name_the_adapter(finished: Path, tiny_settings: list[str]) -> None:
    run, config, console = tiny.opened(finished, tiny_settings)
    figures = read_json(finished / "summary.json")
    console.print(summary.table(run, figures))
    shown = tiny.printed(console)
    assert f"{figures['win_rate']:.1%}" in shown
    assert "simulated preference" in shown
    snippet = summary.snippet(run, config)
    assert f"PeftModel.from_pretrained(model, '{finished}/round-000/export')" in snippet
    compile(snippet, "snippet", "exec")


# --- a policy that was made anew ---


@pytest.fixture
def tuned_again(finished: Path, tiny_settings: list[str], tmp_path: Path) -> tuple[Path, list[str]]:
    """The run with another policy, which is neither evaluated nor exported."""
    opened = tiny.opened(shutil.copytree(finished, tmp_path / "run"), [*tiny_settings, "policy.learning_rate=0.01"])
    assert not stages.policy(*opened).skipped
    return tmp_path / "run", [*tiny_settings, "policy.learning_rate=0.01"]


def reported(run: Run, config: Config) -> ReportData:
    store = Store(run.database)
    data = summary.report_data(run, config, store)
    store.close()
    return data


def test_figures_of_another_policy_are_not_this_ones(tuned_again: tuple[Path, list[str]]) -> None:
    run, config, console = tiny.opened(*tuned_again)
    stages.report(run, config, console)
    assert not (run.path / "summary.json").exists()
    data = reported(run, config)
    assert data.evaluation is None
    assert (data.rounds[0].win_rate, data.rounds[0].mean_kl) == (None, None)
    assert (data.adapter, data.load_snippet) == (str(run.folder / "policy"), "")
    assert "from_pretrained" not in tiny.printed(console)


def test_an_export_of_another_policy_is_not_named_as_this_ones(tuned_again: tuple[Path, list[str]]) -> None:
    run, config, console = tiny.opened(*tuned_again)
    stages.evaluate(run, config, console)
    stages.report(run, config, console)
    assert read_json(run.path / "summary.json")["adapter"] == str(run.folder / "policy")
    told = "The adapter in export/ is another policy's"
    assert f"report: {told}" in tiny.printed(console)
    assert told.replace("'", "&#39;") in (run.path / "report.html").read_text()
    assert "from_pretrained" not in tiny.printed(console)
    assert next_step(facts_of(run, config)).next == f"rlhf export --run {run.path}"
    stages.export(run, config, console)
    assert next_step(facts_of(run, config)).next != f"rlhf export --run {run.path}"
    run, config, console = tiny.opened(*tuned_again)
    stages.report(run, config, console)
    assert told not in tiny.printed(console)
    assert f"'{run.folder}/export'" in tiny.printed(console)


# --- progress ---


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_progress_in_a_log_is_a_line_now_and_then_with_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(progress_module, "time", clock)
    console = Console(file=StringIO(), width=200)
    with progress(console, "policy", total=10, done=4) as advance:
        for _ in range(6):
            clock.now += 10
            advance(1, note="kl 0.50")
    assert tiny.printed(console).splitlines() == [
        "policy: started",
        "policy: 5/10, 0:10 so far, kl 0.50",
        "policy: 7/10, 0:30 so far, 0:30 left, kl 0.50",
        "policy: 9/10, 0:50 so far, 0:10 left, kl 0.50",
        "policy: 10/10, 1:00 so far, 0:00 left, kl 0.50",
    ]


def test_progress_on_a_terminal_is_a_bar() -> None:
    console = Console(file=StringIO(), width=120, force_terminal=True)
    with progress(console, "collect", total=2) as advance:
        advance(2, note="kl 0.50")
    assert "collect" in tiny.printed(console)
    assert "2/2" in tiny.printed(console)
    assert "kl 0.50" in tiny.printed(console)
