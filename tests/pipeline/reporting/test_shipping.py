"""Whether the report says ship, and why: by the verdict and the decision, never by an automatic judge alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from foundation.files import sha256_of, write_json, write_jsonl
from pipeline.champion import history as past
from pipeline.champion.history import BASE, Decision
from pipeline.config.config import Config, load_config
from pipeline.inspection.facts import facts_of
from pipeline.inspection.status import described
from pipeline.reporting.data import ReportData
from pipeline.reporting.report import render
from pipeline.reporting.shipping import shipping_of, verdict_figures
from pipeline.runs.folder import Run
from pipeline.verdict.pairs import why_never_decided
from tests.pipeline.champion.verdicts import decide
from tests.pipeline.tiny import TOPICS, ask


def evaluated(kl: float) -> dict[str, Any]:
    rate = {"win_rate": 0.906, "low": 0.83, "high": 0.97, "n": 64}
    return {
        "mean_kl": kl, "distinct2_ratio": 0.81,
        "sampled": {
            "win_rates": {"reward model": rate},
            "measures": {"base": {"words": 38.0}, "policy": {"words": 9.5}},
        },
    }  # fmt: skip


@pytest.fixture
def config() -> Config:
    return load_config(None, ["promotion.kl=6"], {})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with a policy and an evaluation, a weak reward model, and prompts enough for a verdict."""
    made = Run(tmp_path / "run", say=lambda line: None)
    hold_out(made, 20)
    figures = {
        "accuracy": 0.56, "accuracy_low": 0.31, "accuracy_high": 0.78, "n": 27,
        "longer_wins": 0.5, "bag_of_words": 0.52,
    }  # fmt: skip

    def adapter(folder: Path) -> dict[str, Any]:
        (folder / "weights").write_text("1")
        return {}

    made.stage("reward", "reward", [], {}, lambda folder: adapter(folder) or figures)
    gain = {"judge_gain": -0.1, "judge_low": -0.37, "judge_high": 0.17}
    made.stage("policy", "policy", [made.folder / "reward"], {}, lambda folder: adapter(folder) or gain)
    judge(made, 10.2)
    return made


def judge(run: Run, kl: float) -> None:
    """The evaluate stage's output, with this KL."""

    def evaluation(folder: Path) -> dict[str, Any]:
        write_json(folder / "evaluation.json", evaluated(kl))
        return {"n": 64}

    inputs = [run.folder / "policy", run.folder / "reward"]
    settings = {"kl": kl, "max_prompt_tokens": 64, "sampling": {"max_new_tokens": 8}}
    run.stage("evaluate", "evaluation.json", inputs, settings, evaluation)


def hold_out(run: Run, prompts: int) -> None:
    rows = [{"prompt": ask(f"tell me of the {topic}"), "split": "held_out"} for topic in TOPICS[:prompts]]
    run.stage("prompts", "prompts.jsonl", [], {"held_out": prompts}, lambda folder: _write(folder, rows))


def _write(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    write_jsonl(folder / "prompts.jsonl", rows)
    return {}


def said(run: Run, config: Config) -> tuple[str, str, str]:
    """The outcome, the sentence, and the evidence as text."""
    found = shipping_of(run, config, never=why_never_decided(run, config))
    assert found is not None
    return found.outcome, found.sentence, " | ".join(f"{each.name}: {each.said}" for each in found.evidence)


def settle(run: Run, action: Any, by: Any, reason: str = "for a reason") -> None:
    """A decision about the round's policy."""
    candidate = sha256_of(run.folder / "policy")
    promoted = action == "promoted"
    past.append(
        run,
        Decision(
            at=past.now(), action=action, round=0, candidate="round-000", candidate_sha256=candidate,
            champion="round-000" if promoted else BASE, sha256=candidate if promoted else None, reason=reason, by=by,
        ),
    )  # fmt: skip


def test_without_a_policy_nothing_is_decided(tmp_path: Path, config: Config) -> None:
    assert shipping_of(Run(tmp_path / "new", say=lambda line: None), config) is None


def test_a_win_rate_by_the_reward_model_alone_ships_nothing(run: Run, config: Config) -> None:
    outcome, sentence, evidence = said(run, config)
    assert outcome == "not decided"
    assert "nobody has compared it with the base: `rlhf verdict" in sentence
    assert "it wins 91% (95% interval 83% to 97%) of 64 held-out prompts against the base; it was tuned" in evidence
    assert "10.20 nats per response from the base; the limit is 6.0" in evidence
    assert "Length: 0.25 times the words of the base" in evidence
    assert "right on 56% (95% interval 31% to 78%) of 27 held-out pairs" in evidence
    assert "Held-out judge: a gain of -0.10 standard deviations (95% interval -0.37 to 0.17)" in evidence


def test_no_verdict_is_asked_for_that_could_never_be_decided(run: Run, config: Config) -> None:
    hold_out(run, 5)
    outcome, sentence, _ = said(run, config)
    assert outcome == "not decided"
    assert "nobody has compared it with the base: a verdict could never decide on 5 held-out prompts" in sentence
    assert "`rlhf verdict" not in sentence, "it would be refused"


def test_what_people_preferred_and_was_promoted_ships(run: Run, config: Config) -> None:
    decide(run)
    outcome, sentence, evidence = said(run, config)
    assert (outcome, "`rlhf promote" in sentence) == ("not decided", True)
    settle(run, "promoted", "people", "people preferred it to base")
    outcome, sentence, evidence = said(run, config)
    assert (outcome, sentence) == ("ship", "people preferred it to base.")
    assert "People: against the base: win rate 70%, 95% interval 56% to 81%; 47 judgements of 47 prompts" in evidence


@pytest.mark.parametrize("promoted", [True, False])
def test_simulated_annotators_ship_nothing(run: Run, config: Config, promoted: bool) -> None:
    decide(run, by="simulated")
    if promoted:
        settle(run, "promoted", "simulated")
    outcome, sentence, evidence = said(run, config)
    assert outcome == "do not ship"
    assert "no person has judged it" in sentence
    assert "Simulated annotators: " in evidence


@pytest.mark.parametrize(
    ("action", "expected"), [("kept", "its KL is too large."), ("rolled_back", "it was taken back")]
)
def test_what_was_kept_or_taken_back_does_not_ship(run: Run, config: Config, action: str, expected: str) -> None:
    decide(run)
    settle(run, action, "people", "its KL is too large")
    outcome, sentence, _ = said(run, config)
    assert outcome == "do not ship"
    assert expected in sentence


def test_the_verdict_on_another_policy_is_not_this_ones(run: Run, config: Config) -> None:
    decide(run)
    path = run.folder / "verdict.json"
    other = json.loads(path.read_text())
    other["candidate"]["sha256"] = "0" * 64
    write_json(path, other)
    assert "nobody has compared it" in said(run, config)[1]


def test_a_kl_below_zero_is_explained(run: Run, config: Config) -> None:
    judge(run, -0.02)
    assert "-0.02 nats per response from the base; the limit is 6.0; below zero by chance" in said(run, config)[2]


def test_kl_and_length_are_shown_with_their_intervals(
    run: Run, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, intervals = evaluated(3.0), {"kl_interval": [2.0, 4.0], "length_interval": [0.2, 0.3]}
    monkeypatch.setitem(globals(), "evaluated", lambda kl: found | {"sampled": found["sampled"] | intervals})
    judge(run, 3.0)
    evidence = said(run, config)[2]
    assert "3.00 nats per response from the base (95% interval 2.00 to 4.00); the limit is 6.0" in evidence
    assert "0.25 times the words of the base (95% interval 0.20 to 0.30)" in evidence


def test_an_open_comparison_says_how_far_it_is(run: Run, config: Config) -> None:
    waiting = {"champion": {"name": BASE}, "judgements": 12, "expected_more": 30}
    found = shipping_of(run, config, waiting)
    assert found is not None
    assert found.outcome == "not decided"
    assert "with the base is open: 12 judgements, and about 30 more" in found.sentence


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "; it was tuned towards this judge, which overstates"),
        ({"algorithm": "dpo"}, "; it was tuned on labels that this judge was trained on too, which may overstate"),
        ({"rewards": [{"name": "length"}]}, ""),
        (
            {"rewards": [{"name": "length"}, {"name": "learned"}]},
            "; this judge is a part of what it was tuned towards, which overstates",
        ),
    ],
)
def test_a_reward_model_is_called_partial_if_the_policy_was_tuned_towards_it(
    run: Run, config: Config, settings: dict[str, Any], expected: str
) -> None:
    run.stage("policy", "policy", [], settings, lambda folder: ((folder / "weights").write_text("2") and {}) or {})
    judge(run, 3.0)
    shipping = shipping_of(run, config)
    assert shipping is not None
    said = next(each.said for each in shipping.evidence if each.name == "By the reward model")
    assert said.endswith(f"against the base{expected}")


@pytest.mark.parametrize(
    ("by", "sentence", "evidence"),
    [
        ("mixed", "people have judged it only in part", "People and simulated annotators together: against the base"),
        ("nobody", "no person has judged it, and no program", "Nobody: against the base"),
    ],
)
def test_a_verdict_that_is_not_of_people_alone_ships_nothing(
    run: Run, config: Config, by: str, sentence: str, evidence: str
) -> None:
    decide(run, by=by)
    settle(run, "promoted", by)
    found = said(run, config)
    assert found[0] == "do not ship"
    assert sentence in found[1]
    assert found[2].startswith(evidence)


@pytest.mark.parametrize(
    ("by", "words"),
    [("mixed", "by people and simulated annotators together, "), ("nobody", "decided without a judge, ")],
)
def test_report_and_status_say_who_voted(run: Run, config: Config, by: str, words: str) -> None:
    decide(run, by=by)
    page = render(ReportData(run="run", verdict=verdict_figures(run)))
    assert words in page
    assert "by people, " not in page
    line = described(facts_of(run, config)._replace(made={}))["verdict"]
    assert line.endswith("by nobody" if by == "nobody" else words.rstrip(", "))


def test_a_judge_beside_the_people_says_how_many_pairs_it_judged(run: Run, config: Config) -> None:
    judged = {"win_rate": 0.8, "interval": [0.3, 1.0], "agreement": None}
    decide(run, judges={"model at URL": judged | {"prompts": 5}, "earlier judge": judged})
    evidence = said(run, config)[2]
    assert "By the model at URL: on 5 of the same pairs, 80% (95% interval 30% to 100%)" in evidence
    assert "By the earlier judge: on the same pairs, 80%" in evidence
