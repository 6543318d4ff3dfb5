"""The verdict stage on a tiny model and a real label store: opened, judged by people, decided once."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from foundation.errors import UserError
from foundation.files import Row, read_json, read_rows, sha256_of, write_jsonl
from labeling_ui.data_model import Answer, Assignment
from labeling_ui.store.store import Store
from pipeline import promoting, stages
from pipeline.evaluation import comparison
from pipeline.evaluation.comparison import respond
from pipeline.runs.label_store import label_store
from pipeline.runs.manifest import Manifest
from pipeline.verdict.ballots import candidates_of
from pipeline.verdict.deciding import decided, open_verdict
from pipeline.verdict.pairs import PAIRS
from tests.pipeline import tiny
from tests.pipeline.verdict.conftest import prompts_file

CONTRACT = {
    "candidate", "champion", "outcome", "by", "judgements", "prompts", "wins", "ties", "both_bad", "losses", "win_rate",
    "interval", "e_value", "alpha", "expected_more", "late", "by_annotator", "by_length", "by_topic",
    "length_controlled", "agreement", "judges", "campaign",
}  # fmt: skip


def winners(run: Path) -> set[str]:
    return {candidates_of(pair)["candidate"].id for pair in read_rows(run / "round-000" / "verdict-pairs.jsonl")}


def for_the_candidate(run: Path) -> Callable[[Assignment], Answer]:
    won = winners(run)
    return lambda shown: Answer("preferred", next(each.id for each in shown.shown if each.id in won))


def for_the_champion(run: Path) -> Callable[[Assignment], Answer]:
    won = winners(run)
    return lambda shown: Answer("preferred", next(each.id for each in shown.shown if each.id not in won))


def judge(store: Store, answer: Callable[[Assignment], Answer], name: str = "ann", most: int = 1000) -> int:
    """Let a person answer verdict tasks until none is left; returns how many."""
    person, given = store.annotator(name).id, 0
    while given < most and (shown := store.next_assignment(person)):
        store.record(shown.judgement(answer(shown)))
        given += shown.task.repeat_of is None
    return given


def test_it_opens_pairs_in_a_campaign_of_their_own_and_says_what_to_expect(
    tuned: Path, verdict_settings: list[str]
) -> None:
    run, config, console = tiny.opened(tuned, verdict_settings)
    found = stages.verdict(run, config, console)
    shown = tiny.printed(console)
    assert found["outcome"] == "open"
    assert "if 70% of preferences are for the candidate, about" in shown
    assert f"The verdict waits for about {found['expected_more']} judgements: rlhf label --run {tuned}" in shown
    assert not (tuned / "round-000" / "verdict.json").exists()
    held_out = {row["id"] for row in read_rows(tuned / "round-000" / "prompts.jsonl") if row["split"] == "held_out"}
    with label_store(run, config) as store:
        (campaign,) = [each for each in store.campaigns() if each.is_verdict]
        tasks = [task for task in store.tasks() if task.campaign == campaign.name]
    assert {task.prompt_id for task in tasks} <= held_out
    assert len(tasks) == len({task.prompt_id for task in tasks})
    assert open_verdict(run, config) == found
    again = tiny.opened(tuned, verdict_settings)
    assert stages.verdict(*again) == found
    assert "verdict-pairs: already done" in tiny.printed(again[2])


def test_people_decide_it_once_and_what_comes_later_is_kept_and_does_not_count(
    tuned: Path, verdict_settings: list[str]
) -> None:
    run, config, console = tiny.opened(tuned, verdict_settings)
    stages.verdict(run, config, console)
    labels = Manifest.read(run.manifest_path).stages["preferences"].basis.extra["label_set"]
    with label_store(run, config) as store:
        late = store.annotator("late").id
        held = [each for each in store.assignments(late, 2) if each.task.repeat_of is None]
        judge(store, for_the_candidate(tuned))
    found = stages.verdict(run, config, console)
    assert set(found) >= CONTRACT
    assert (found["outcome"], found["by"], found["losses"]) == ("better", "people", 0)
    assert found["e_value"] >= 20
    assert found["wins"] == found["judgements"] < 14
    assert found["champion"] == {"name": "base", "sha256": None}
    assert found["candidate"]["sha256"] == Manifest.read(run.manifest_path).stages["policy"].output_sha256
    assert found["late"] > 0
    assert {"simulated preference", "reward model"} == set(found["judges"])
    written = (run.folder / "verdict.json").read_bytes()
    with label_store(run, config) as store:
        for each in held:
            store.record(each.judgement(for_the_champion(tuned)(each)))
        assert store.next_assignment(store.annotator("nobody").id) is None
        assert store.label_set_hash() == labels
    assert stages.verdict(run, config, console) == found == decided(run)
    assert (run.folder / "verdict.json").read_bytes() == written
    stages.preferences(run, config)
    assert not run.manifest().superseded


def test_a_policy_that_loses_is_not_better(tuned: Path, verdict_settings: list[str]) -> None:
    opened = tiny.opened(tuned, verdict_settings)
    stages.verdict(*opened)
    with label_store(*opened[:2]) as store:
        judge(store, for_the_champion(tuned))
    assert stages.verdict(*opened)["outcome"] == "not_better"


def test_prompts_that_are_used_up_leave_it_undecided(tuned: Path, verdict_settings: list[str]) -> None:
    opened = tiny.opened(tuned, verdict_settings)
    stages.verdict(*opened)
    with label_store(*opened[:2]) as store:
        judge(store, lambda shown: Answer("tie"))
    found = stages.verdict(*opened)
    assert (found["outcome"], found["expected_more"], found["losses"]) == ("undecided", None, 0)
    assert found["late"] == 0
    assert found["ties"] == found["judgements"]


def test_it_is_undecided_as_soon_as_the_prompts_that_are_left_could_not_decide(
    tuned: Path, verdict_settings: list[str]
) -> None:
    opened = tiny.opened(tuned, verdict_settings)
    stages.verdict(*opened)
    with label_store(*opened[:2]) as store:
        judge(store, lambda shown: Answer("both_bad"), most=11)
        assert store.waiting(next(each.name for each in store.campaigns() if each.is_verdict)) > 0
    assert stages.verdict(*opened)["outcome"] == "undecided"


def test_simulated_annotators_answer_it_and_are_called_simulated(tuned: Path, verdict_settings: list[str]) -> None:
    run, config, console = tiny.opened(tuned, verdict_settings)
    found = stages.verdict(run, config, console, simulated=True)
    assert found["outcome"] != "open"
    assert found["by"] == "simulated"
    assert all(each["program"] for each in found["by_annotator"])
    assert "by SIMULATED annotators" in tiny.printed(console)


def test_too_few_prompts_are_refused_before_a_model_is_loaded(tuned: Path, verdict_settings: list[str]) -> None:
    few = prompts_file(tuned / "few.jsonl", held_out=6)
    settings = [*verdict_settings, f"collect.prompts={few}", "model=no/such-model"]
    with pytest.raises(UserError, match="could never decide on 6 held-out prompts"):
        stages.verdict(*tiny.opened(tuned, settings))


def test_it_says_first_where_a_win_could_not_be_followed_by_a_promotion(
    tuned: Path, verdict_settings: list[str], tmp_path: Path
) -> None:
    told = "it will not be promoted unless its responses are sounder than the champion's"
    few = [*verdict_settings, f"collect.prompts={prompts_file(tmp_path / 'few.jsonl', held_out=10)}"]
    for settings in (few, [*verdict_settings, "evaluate.prompts=10"]):
        run, config, console = tiny.opened(
            Path(shutil.copytree(tuned, tmp_path / settings[-1].partition("=")[0])), settings
        )
        stages.evaluate(run, config, console)
        stages.verdict(run, config, console)
        shown = tiny.printed(console)
        assert f"{told}: on 10 evaluated prompts" in shown
        assert "Hold out 14 or more" in shown
    enough = tiny.opened(tuned, verdict_settings)
    stages.verdict(*enough)
    assert told not in tiny.printed(enough[2])


def test_what_it_was_opened_with_stays(tuned: Path, verdict_settings: list[str]) -> None:
    stages.verdict(*tiny.opened(tuned, verdict_settings))
    found = stages.verdict(*tiny.opened(tuned, [*verdict_settings, "verdict.alpha=0.4", "verdict.margin=0.9"]))
    assert (found["alpha"], found["margin"]) == (0.05, 0.5)


@pytest.mark.parametrize(("temperature", "another_prompt"), [("0.3", False), ("1.0", True)])
def test_an_interrupted_opening_keeps_only_responses_to_the_same_prompts_under_the_same_sampling(
    tuned: Path,
    verdict_settings: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    temperature: str,
    another_prompt: bool,
) -> None:
    whole = shutil.copytree(tuned, tmp_path / "whole")

    def interrupted(*arguments: object) -> list[Row]:
        if any(isinstance(each, Path) and each.name == "champion.jsonl" for each in arguments):
            raise KeyboardInterrupt
        return respond(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(comparison, "respond", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stages.verdict(*tiny.opened(tuned, verdict_settings))
    rows = read_rows(prompts_file(tmp_path / "prompts.jsonl", held_out=16))
    one_more = {"prompt": tiny.ask("tell me of the sea"), "split": "held_out"}
    prompts = tmp_path / "prompts.jsonl"
    write_jsonl(prompts, [*rows[:12], *([one_more] if another_prompt else []), *rows[12:]])
    changed = [*verdict_settings, f"collect.prompts={prompts}", f"evaluate.sampling.temperature={temperature}"]
    for run in (tuned, whole):
        stages.verdict(*tiny.opened(run, changed))
    assert read_rows(tuned / "round-000" / PAIRS) == read_rows(whole / "round-000" / PAIRS)


def test_a_policy_that_was_made_anew_has_a_verdict_of_its_own(tuned: Path, verdict_settings: list[str]) -> None:
    run, config, console = tiny.opened(tuned, verdict_settings)
    first = stages.verdict(run, config, console)["campaign"]
    with label_store(run, config) as store:
        judge(store, for_the_candidate(tuned), most=3)
    changed = tiny.opened(tuned, [*verdict_settings, "policy.steps=3"])
    stages.policy(*changed)
    found = stages.verdict(*changed)
    assert found["campaign"] != first
    assert found["judgements"] == 0
    with label_store(run, config) as store:
        assert store.waiting(first) == 0
        assert store.waiting(found["campaign"]) > 0


def test_a_policy_that_was_made_anew_and_answers_the_same_has_a_verdict_written_of_its_own(
    tuned: Path, verdict_settings: list[str]
) -> None:
    run, config, console = tiny.opened(tuned, verdict_settings)
    first = stages.verdict(run, config, console, simulated=True)
    (run.folder / "policy" / "README.md").write_text("made at another time")
    manifest = run.manifest()
    anew = manifest.stages["policy"].model_copy(update={"output_sha256": sha256_of(run.folder / "policy")})
    manifest.stages["policy"] = anew
    manifest.write(run.manifest_path)
    second = stages.verdict(run, config, console, simulated=True)
    assert first["campaign"] != second["campaign"]
    assert decided(run) == second == read_json(run.folder / "verdict.json")


def test_prompts_of_a_verdict_never_become_training_prompts(tuned: Path, verdict_settings: list[str]) -> None:
    opened = tiny.opened(tuned, verdict_settings)
    stages.verdict(*opened)
    moved = tuned / "moved.jsonl"
    rows = read_rows(prompts_file(tuned / "all.jsonl", held_out=16))
    write_jsonl(moved, [{**row, "split": "held_out" if row["split"] == "train" else "train"} for row in rows])
    run, config, console = tiny.opened(tuned, [*verdict_settings, f"collect.prompts={moved}"])
    later = run.new_round()
    stages.prompts(later, config)
    with label_store(run, config) as store:
        judged = store.judged_prompts()
    split = {row["id"]: row["split"] for row in read_rows(later.folder / "prompts.jsonl")}
    assert judged
    assert {split[prompt] for prompt in judged} == {"held_out"}
    assert f"{len(judged)} prompts stay held out" in tiny.printed(console)


def test_settings_of_the_main_campaign_that_change_meanwhile_change_its_cards_too(
    tuned: Path, verdict_settings: list[str]
) -> None:
    stages.verdict(*tiny.opened(tuned, verdict_settings))
    run, config, console = tiny.opened(tuned, [*verdict_settings, "label.instructions=Choose the kinder one."])
    stages.apply_label_settings(run, config, console)
    with label_store(run, config) as store:
        assert {each.instructions for each in store.campaigns()} == {"Choose the kinder one."}
        assert [each.overlap for each in store.campaigns() if each.is_verdict] == [1]


def test_the_loop_exports_and_waits_for_people_and_goes_on_when_they_have_decided(
    tuned: Path, verdict_settings: list[str]
) -> None:
    run, config, console = tiny.opened(tuned, verdict_settings)
    stages.loop(run, config, console, rounds=2)
    shown = tiny.printed(console).splitlines()
    assert shown[-1].startswith("The verdict waits for about")
    assert (tuned / "round-000" / "export").is_dir()
    assert run.rounds() == [0]
    with label_store(run, config) as store:
        judge(store, for_the_candidate(tuned))
    stages.loop(run, config, console, rounds=2)
    assert read_json(tuned / "round-000" / "verdict.json")["outcome"] == "better"
    assert run.rounds() == [0, 1]


def test_the_next_round_s_policy_meets_the_champion_and_not_the_base(tuned: Path, verdict_settings: list[str]) -> None:
    run, config, console = tiny.opened(tuned, verdict_settings)
    promoting.promote_by_hand(run, config, console, "it reads well")
    stages.loop(run, config, console, simulated=True, rounds=2)
    sha256 = Manifest.read(run.manifest_path).stages["policy"].output_sha256
    found = read_json(tuned / "round-001" / "verdict.json")
    assert found["champion"] == {"name": "round-000", "sha256": sha256}
    inputs = Manifest.read(run.at(1).manifest_path).stages["verdict-pairs"].basis.inputs
    assert inputs["round-000/policy"] == sha256


def test_a_round_that_was_deleted_leaves_a_verdict_that_nobody_is_asked_about_any_more(
    tuned: Path, verdict_settings: list[str]
) -> None:
    run, config, console = tiny.opened(tuned, verdict_settings)
    stages.loop(run, config, console)
    shutil.rmtree(run.folder)
    assert open_verdict(run, config) is None
    stages.loop(run, config, console)
    shown = tiny.printed(console)
    with label_store(run, config) as store:
        named = [each.name for each in store.campaigns() if each.is_verdict]
        assert named == ["verdict-000-1", "verdict-000-2"]
        assert store.waiting("verdict-000-1") == 0 < store.waiting("verdict-000-2")
    assert "that verdict-000-1 would still take" in shown


def test_a_loop_with_too_few_prompts_says_so_and_goes_on(finished: Path) -> None:
    assert (finished / "round-000" / "export").is_dir()
    assert not (finished / "round-000" / "verdict.json").exists()
