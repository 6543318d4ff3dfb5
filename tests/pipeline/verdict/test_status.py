"""What comes next while a verdict is open, and once it is complete."""

from pathlib import Path

import pytest

from foundation.files import read_rows, write_jsonl
from labeling_ui.store.store import Store
from pipeline import stages
from pipeline.inspection import lineage
from pipeline.inspection.facts import facts_of
from pipeline.inspection.status import next_step
from pipeline.verdict.pairs import TooFewPrompts
from reward_model.labels.records import prompt_key
from tests.pipeline import tiny
from tests.pipeline.verdict.conftest import prompts_file
from tests.pipeline.verdict.test_deciding import for_the_candidate, judge


def test_an_open_verdict_is_not_said_to_be_judged_by_nobody(tuned: Path, verdict_settings: list[str]) -> None:
    run, config, console = tiny.opened(tuned, verdict_settings)
    stages.verdict(run, config, console)
    store = Store(run.database)
    judge(store, for_the_candidate(tuned), most=3)
    store.close()
    stages.report(run, config, console)
    shown = " ".join((tuned / "report.html").read_text().split())
    assert "nobody has compared it yet" not in shown
    assert "open: 3 judgements, and about" in shown
    lineage.show(lineage.trace(run, config, "round-000"), console)
    assert "open: 3 judgements, and about" in tiny.printed(console)
    assert "against base, by people so far" in tiny.printed(console)
    assert "nobody has judged it" not in tiny.printed(console)


@pytest.mark.parametrize("why", ["too long", "learned from", "not asked"])
def test_the_status_asks_for_no_verdict_that_would_be_refused(
    tuned: Path, verdict_settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    rows = read_rows(prompts_file(tmp_path / "prompts.jsonl", held_out=16))
    held_out = [row for row in rows if row["split"] == "held_out"]
    if why == "too long":
        for row in held_out[6:]:
            row["prompt"] = tiny.ask(f"{row['prompt'][0]['content']} {'and more ' * 15}")
    if why == "learned from":
        learned = {prompt_key(row["prompt"]) for row in held_out[6:]}
        monkeypatch.setattr("pipeline.collection.held_out.tuned_on", lambda run: learned)
    write_jsonl(tmp_path / "prompts.jsonl", rows)
    changed = [*verdict_settings, f"collect.prompts={tmp_path / 'prompts.jsonl'}", "collect.max_prompt_tokens=64"]
    run, config, console = tiny.opened(tuned, [*changed, *(["verdict.prompts=6"] if why == "not asked" else [])])
    stages.evaluate(run, config, console)
    assert next_step(facts_of(run, config)).state == "tuned"
    with pytest.raises(TooFewPrompts):
        stages.verdict(run, config, console)


def test_the_status_names_who_has_to_judge_and_then_the_decision(tuned: Path, verdict_settings: list[str]) -> None:
    run, config, console = tiny.opened(tuned, verdict_settings)
    assert next_step(facts_of(run, config))[::3] == ("evaluated", f"rlhf verdict --run {tuned}")
    found = stages.verdict(run, config, console)
    told = next_step(facts_of(run, config))
    assert (told.state, told.who) == ("verdict open", "annotators")
    assert told.next.startswith(f"rlhf label --run {tuned}")
    assert str(found["expected_more"]) in told.waits_for
    store = Store(run.database)
    judge(store, for_the_candidate(tuned))
    store.close()
    assert next_step(facts_of(run, config))[::3] == ("verdict complete", f"rlhf verdict --run {tuned}")
    stages.verdict(run, config, console)
    assert next_step(facts_of(run, config))[::3] == ("won", f"rlhf promote --run {tuned}")
