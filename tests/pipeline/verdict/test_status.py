"""What comes next while a verdict is open, and once it is complete."""

from pathlib import Path

from labeling_ui.store.store import Store
from pipeline import stages
from pipeline.inspection import lineage
from pipeline.inspection.facts import facts_of
from pipeline.inspection.status import next_step
from tests.pipeline import tiny
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
