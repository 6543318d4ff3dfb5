"""Policies of a round that were evaluated alike, side by side in its report."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.commands import app
from pipeline.reporting.tried import tried_in
from pipeline.runs.folder import Run
from tests.pipeline import tiny


@pytest.fixture
def path(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def typed(*command: str, run: Path, overrides: list[str]) -> None:
    result = CliRunner().invoke(
        app, [*command, "--run", str(run), *(part for each in overrides for part in ("--set", each))]
    )
    assert result.exit_code == 0, (result.output, result.exception)


def test_dpo_on_the_same_labels_stands_beside_the_policy_that_learned_from_the_reward_model(
    path: Path, tiny_settings: list[str]
) -> None:
    run, config, _ = tiny.opened(path, tiny_settings)
    assert tried_in(run) == ()
    first = run.manifest().stages["evaluate"].figures
    for verb in ("policy", "evaluate", "report"):
        typed(verb, run=path, overrides=["policy.algorithm=dpo", "policy.kl_target=5"])

    dpo, rloo = tried_in(Run(path))

    assert (dpo.name, dpo.present) == ("dpo, kl_target=5.0", True)
    assert (rloo.name, rloo.present) == (f"{config.policy.algorithm}, kl_target={config.policy.kl_target}", False)
    assert (rloo.rate.value, rloo.rate.n, rloo.mean_kl) == (first["win_rate"], first["n"], first["mean_kl"])
    page = (path / "report.html").read_text(encoding="utf-8")
    assert "Tried in this round" in page
    assert page.index("dpo, kl_target=5.0") < page.index(rloo.name)


def test_policies_that_were_evaluated_otherwise_are_not_compared(path: Path) -> None:
    typed("policy", run=path, overrides=["policy.kl_target=5"])
    typed("evaluate", run=path, overrides=["evaluate.sampling.temperature=0.5"])

    assert tried_in(Run(path)) == ()


def test_a_policy_that_was_made_anew_and_not_evaluated_yet_has_no_table(path: Path) -> None:
    typed("policy", run=path, overrides=["policy.kl_target=5"])

    assert tried_in(Run(path)) == ()
