"""The report: it stands alone, escapes what it shows, says what is simulated, and copes with what is missing."""

import math
import random
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.reporting import charts
from pipeline.reporting.report import ReportData, phases, render, training_charts, write_report

SNIPPET = """\
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

folder = "runs/demo/round-000/export"
model = AutoPeftModelForCausalLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
messages = [{"role": "user", "content": "Why is the sky blue?"}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=80)[0]))
"""


WIN_RATE = {"win_rate": 0.781, "win_rate_low": 0.703, "win_rate_high": 0.852}


def rate(name: str, value: float, low: float, high: float, simulated: bool = False) -> dict[str, object]:
    return {"name": name, "value": value, "low": low, "high": high, "n": 98, "simulated": simulated}


def simulated_annotator(name: str, left_share: float, p_value: float) -> dict[str, object]:
    figures = {"judgements": 301, "left_share": left_share, "left_p_value": p_value}
    figures |= {"gold": 0.9, "skill": 0.884, "skill_low": 0.81, "skill_high": 0.943, "weight": 1.07}
    return {"name": name, "simulated": True} | figures


def stage(name: str, output: str, seconds: float, finished_at: str) -> dict[str, object]:
    return {"stage": name, "output": output, "seconds": seconds, "finished_at": finished_at, "sha256": "ab12" * 16}


def example() -> ReportData:
    """A whole run with made-up figures, as the stages would hand it in."""
    draw = random.Random(0)
    training = []
    for step in range(1, 41):
        rise = 1 - math.exp(-step / 14)
        kl = 5.2 * rise**1.4 + draw.gauss(0, 0.25) * rise
        score = -0.6 + 2.9 * rise + draw.gauss(0, 0.22)
        training.append(
            {
                "step": step,
                "score": score,
                "reward": score - 0.05 * kl,
                "kl": kl,
                "entropy": 1.9 - 0.8 * rise + draw.gauss(0, 0.05),
                "length": 61 - 24 * rise + draw.gauss(0, 1.5),
                "finish_rate": min(1.0, 0.22 + 0.7 * rise + draw.gauss(0, 0.04)),
                "seconds_sample": 5.1 + draw.random(),
                "seconds_score": 1.2,
                "seconds_reference": 1.0,
                "seconds_update": 5.8 + draw.random(),
                "repetition": 0.02 + 0.1 * rise,
                "score_std": 0.3 + 0.2 * rise,
                "tokens": 1500,
                "peak_memory_gb": 4.0 + 0.02 * step,
            }
        )
    pairs = [
        {
            "prompt": "How do I stop a door from squeaking?",
            "base": "There are several ways to stop a door from squeaking. First, identify the source of the noise. "
            "Next, you will want to look at the hinges, and then you might consider whether the",
            "policy": "Put a drop of oil on each hinge and swing the door a few times. Wipe off what is left over.",
            "base_score": -1.31,
            "policy_score": 2.44,
        },
        {
            "prompt": "What is half of three quarters?",
            "base": "Half of three quarters is three eighths.",
            "policy": "It is a half, so you can divide it evenly between two people.",
            "base_score": 1.92,
            "policy_score": 0.35,
        },
    ]
    return ReportData.model_validate(
        {
            "run": "demo",
            "model": "SmolLM2-135M-Instruct",
            "created_at": "22 November 2026",
            "rounds": [
                {"round": 0, "judgements": 1204, "pairs": 561, "reward_accuracy": 0.86, "mean_kl": 5.02} | WIN_RATE,
                {"round": 1, "judgements": 2408, "pairs": 1130, "reward_accuracy": 0.88},
            ],
            "labels": {
                "prompts": 301,
                "tasks": 602,
                "judgements": 1204,
                "simulated_judgements": 1204,
                "by_verdict": {"preferred": 1049, "tie": 121, "both_bad": 34, "skip": 0},
                "pairs": 561,
                "alpha": 0.63,
                "alpha_low": 0.58,
                "alpha_high": 0.68,
                "annotators": [
                    simulated_annotator("simulated-careful", 0.507, 0.86),
                    simulated_annotator("simulated-left-leaning", 0.641, 0.00002),
                ],
                "label_set_hash": "9f2c" * 16,
            },
            "reward": {
                "accuracy": 0.861,
                "accuracy_low": 0.79,
                "accuracy_high": 0.911,
                "n": 118,
                "longer_wins": 0.34,
                "bag_of_words": 0.66,
                "ece": 0.041,
                "reliability": [(0.55, 0.52, 20), (0.65, 0.7, 22), (0.75, 0.73, 30), (0.9, 0.93, 46)],
            },
            "training": training,
            "alarms": [
                {"name": "length", "first": 21, "last": 40, "figure": "length", "advice": "Read samples."},
                {"name": "kl", "first": 33, "last": 33, "figure": "kl", "advice": "Stop here."},
            ],
            "evaluation": {
                "win_rates": [
                    rate("By hidden preference, sampled", 0.781, 0.703, 0.852, simulated=True),
                    rate("By reward-model score, sampled", 0.84, 0.765, 0.908),
                    rate("By hidden preference, greedy", 0.69, 0.597, 0.776, simulated=True),
                ],
                "mean_kl": 5.02,
                "measures": [
                    {"name": "Length, words", "base": 48.2, "policy": 29.7},
                    {"name": "Finished, share", "base": 0.24, "policy": 0.93},
                    {"name": "Distinct-2", "base": 0.81, "policy": 0.78},
                ],
                "best": pairs[:1],
                "worst": pairs[1:],
            },
            "manifest": [
                stage("collect", "candidates.jsonl", 181.2, "2026-11-22 09:14"),
                stage("policy", "policy/", 411.7, "2026-11-22 09:25"),
            ],
            "adapter": "runs/demo/round-000/export",
            "load_snippet": SNIPPET,
        }
    )


class Page(HTMLParser):
    """What a browser would see: tags with attributes, and the text outside of style sheets."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] != "style":
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_a_whole_run_is_shown(tmp_path: Path) -> None:
    write_report(example(), tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    text = " ".join(page.text.split())
    assert (
        "The tuned policy beats its base: it wins 78.1% of 98 held-out comparisons (95% interval 70.3% to 85.2%)."
        in text
    )
    for shown in (
        "561 pairs had a majority",
        "86.1%",
        "66.0%",
        "Put a drop of oil",
        "AutoPeftModelForCausalLM",
        "0.63",
        "81.0% to 94.3%",
        "1.07",
        "length21 to 40Read samples.",
        "kl33Stop here.",
        "Peak memory: 4.8 GB.",
    ):
        assert shown in text
    assert len(page.named("svg")) == 9
    assert "not run yet" not in text


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    html = render(example())
    page = Page(html)
    policy = next(meta["content"] for meta in page.named("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "form", "base"}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert "@import" not in html


PAYLOAD = "</title></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{ 7 * 7 }}"


@pytest.mark.parametrize("where", ["run", "model", "prompt", "base", "policy", "annotator", "rate", "measure", "stage"])
def test_untrusted_text_is_shown_as_text(where: str) -> None:
    values = example().model_dump(mode="json")
    comparison = values["evaluation"]["best"][0]
    target, key = {
        "run": (values, "run"),
        "model": (values, "model"),
        "prompt": (comparison, "prompt"),
        "base": (comparison, "base"),
        "policy": (comparison, "policy"),
        "annotator": (values["labels"]["annotators"][0], "name"),
        "rate": (values["evaluation"]["win_rates"][0], "name"),
        "measure": (values["evaluation"]["measures"][0], "name"),
        "stage": (values["manifest"][0], "sha256"),
    }[where]
    target[key] = PAYLOAD
    page = Page(render(ReportData.model_validate(values)))
    assert not page.named("script")
    assert not page.named("img")
    if where != "stage":
        assert PAYLOAD in page.text


def test_text_that_has_no_utf8_is_still_written(tmp_path: Path) -> None:
    values = example().model_dump(mode="json")
    values["evaluation"]["best"][0]["policy"] = "broken \ud800 half"
    write_report(ReportData.model_validate(values), tmp_path / "report.html")
    assert "broken ? half" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("simulated", "said"),
    [(1204, "All 1,204 answers come from simulated"), (4, "4 of 1,204 answers come from simulated"), (0, None)],
)
def test_simulated_labels_are_announced_at_the_top(simulated: int, said: str | None) -> None:
    values = example().model_dump(mode="json")
    values["labels"]["simulated_judgements"] = simulated
    for each in values["evaluation"]["win_rates"]:
        each["simulated"] = False
    html = render(ReportData.model_validate(values))
    top = " ".join(Page(html[: html.index("<h2>")]).text.split())
    assert ("simulated annotators" in top) == (said is not None)
    assert said is None or said in top


def test_a_verdict_by_hidden_preference_is_announced_even_with_human_labels() -> None:
    values = example().model_dump(mode="json")
    values["labels"]["simulated_judgements"] = 0
    assert "Simulated verdict." in Page(render(ReportData.model_validate(values))).text


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.55, 0.7, "beats its base"), (0.45, 0.6, "No clear difference"), (0.2, 0.4, "loses to its base")],
)
def test_the_verdict_follows_from_the_interval(low: float, high: float, said: str) -> None:
    values = example().model_dump(mode="json")
    values["evaluation"]["win_rates"][0] |= {"value": (low + high) / 2, "low": low, "high": high}
    assert said in Page(render(ReportData.model_validate(values))).text


def test_an_empty_run_says_what_has_not_run_yet() -> None:
    text = Page(render(ReportData(run="new"))).text
    for verb in ("label", "reward", "policy", "evaluate", "export"):
        assert f"make {verb}" in text
    assert len(re.findall("not run yet", text)) >= 5


def test_figures_that_are_missing_or_not_finite_do_not_stop_the_report() -> None:
    values = example().model_dump(mode="json")
    values["training"] = [{"step": 1, "score": math.nan, "kl": None}, {"step": 2, "score": 1.0, "kl": math.inf}]
    values["evaluation"]["mean_kl"] = math.nan
    values["evaluation"]["best"] = [{"prompt": "p", "base": "", "policy": "x"}]
    assert "(an empty response)" in Page(render(ReportData.model_validate(values))).text


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="win_rates"):
        ReportData.model_validate({"run": "demo", "evaluation": {"winrates": []}})


def test_only_what_was_logged_is_drawn() -> None:
    titles = [title for title, _ in training_charts(({"step": 1, "score": 0.5}, {"step": 2, "score": 0.7}))]
    assert titles == ["Score and reward"]


def test_phases_are_summed_over_steps() -> None:
    rows = ({"step": 1, "seconds_sample": 2.0, "seconds_old_logprobs": 1.0}, {"step": 2, "seconds_sample": 3.0})
    assert phases(rows) == [("sample", 5.0), ("old logprobs", 1.0)]


SHADE = "fill: var(--warn-line)"


def test_the_drawing_of_a_figure_is_shaded_where_its_alarm_was_on() -> None:
    data = example()
    shaded = [title for title, drawing in training_charts(data.training, data.alarms) if SHADE in drawing]
    assert shaded == ["KL from the base, nats per response", "Length, tokens"]
    assert not [title for title, drawing in training_charts(data.training) if SHADE in drawing]


def test_a_run_without_alarms_says_so() -> None:
    values = example().model_dump(mode="json") | {"alarms": []}
    assert "No alarm went off." in Page(render(ReportData.model_validate(values))).text


def test_tokens_a_second_are_counted_by_phase_and_in_all() -> None:
    values = example().model_dump(mode="json")
    values["training"] = [{"step": 1, "score": 0.5, "tokens": 900, "seconds_sample": 2.0, "seconds_update": 1.0}]
    text = " ".join(Page(render(ReportData.model_validate(values))).text.split())
    assert "sample2.066.7%450update1.033.3%900 total3.0300" in text


def test_uncertainty_and_spread_are_no_parts_of_the_score() -> None:
    row = {"step": 1, "score": 0.5, "score_std": 0.1, "score_spread": 0.2, "score_learned_std": 0.3}
    titles = [title for title, _ in training_charts((row,))]
    assert titles[:2] == ["Score and reward", "Score: learned std"]
    assert len(titles) == 4


def test_smoothing_starts_at_the_first_value_and_steps_over_gaps() -> None:
    # Weights 0.3 and 0.7 * 0.3 = 0.21, corrected by their sum: (0.21 * 2 + 0.3 * 4) / 0.51
    smooth = charts.smoothed([2.0, math.nan, 4.0])
    assert smooth[0] == pytest.approx(2.0)
    assert math.isnan(smooth[1])
    assert smooth[2] == pytest.approx((0.21 * 2 + 0.3 * 4) / 0.51)


def test_drawings_carry_no_colours_of_their_own() -> None:
    for _, drawing in training_charts(example().training):
        assert not re.findall(r"#[0-9a-f]{6}\b", re.sub(r'(id="|#)[mp][0-9a-f]{10}', "", drawing))


def test_calibration_and_doubt_of_the_reward_model_are_shown_where_they_were_measured() -> None:
    before = Page(render(example()))
    assert "temperature" not in before.text
    values = example().model_dump(mode="json")
    values["reward"] |= {
        "ece_after": 0.012, "temperature": 1.7, "error_most_uncertain": 0.42, "error_least_uncertain": 0.08,
        "length_controlled_accuracy": 0.79, "reliability_after": [(0.54, 0.52, 30), (0.8, 0.83, 88)],
    }  # fmt: skip
    html = render(ReportData.model_validate(values))
    text = " ".join(Page(html).text.split())
    assert "0.041; 0.012 after dividing score differences by a temperature (1.70 on all held-out pairs)" in text
    assert "It is wrong in 42.0% of the fifth of pairs that it is least certain of, and in 8.0%" in text
    assert "Length-controlled accuracy (the longer and the shorter response weighted equally): 79.0%" in text
    assert "hollow: with the temperature" in text
