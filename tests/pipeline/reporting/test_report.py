"""The report: it stands alone, escapes what it shows, says what is simulated, and copes with what is missing."""

import base64
import hashlib
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.reporting import report
from pipeline.reporting.data import ReportData
from pipeline.reporting.report import render, write_report
from tests.pipeline.reporting.example import example

STYLE = Path(report.__file__).with_name("static") / "style.css"


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
    for shown in (
        "Ship: people preferred it to the base.",
        "KL5.0 nats per response from the base; the limit is 6.0",
        "by people, 57.0% to 87.0%, 46 judgements",
        "561 pairs had a majority",
        "43 further answers train nothing",
        "became champion",
        "steps: 40",
        "Step 20",
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


def test_the_page_loads_nothing_and_runs_nothing_but_its_own_script() -> None:
    html = render(example())
    page = Page(html)
    policy = next(meta["content"] for meta in page.named("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    own = html[html.index("<script>") + len("<script>") : html.index("</script>")]
    named = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    assert policy.startswith(
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{named}'; img-src data:"
    )
    assert page.named("script") == [{}]
    assert not {tag for tag, _ in page.tags} & {"link", "iframe", "object", "embed", "form", "base"}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert "@import" not in html


PAYLOAD = "</title></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{ 7 * 7 }}"


@pytest.mark.parametrize(
    "where",
    [
        "run",
        "model",
        "prompt",
        "base",
        "policy",
        "annotator",
        "instructions",
        "rate",
        "measure",
        "stage",
        "sentence",
        "sample",
        "settings",
        "decision",
    ],
)
def test_untrusted_text_is_shown_as_text(where: str) -> None:
    values = example().model_dump(mode="json")
    comparison = values["evaluation"]["pairs"][0]
    target, key = {
        "run": (values, "run"),
        "model": (values, "model"),
        "prompt": (comparison, "prompt"),
        "base": (comparison, "base"),
        "policy": (comparison, "policy"),
        "annotator": (values["labels"]["annotators"][0], "name"),
        "instructions": (values["labels"], "instructions"),
        "rate": (values["evaluation"]["win_rates"][0], "name"),
        "measure": (values["evaluation"]["measures"][0], "name"),
        "stage": (values["manifest"][0], "sha256"),
        "sentence": (values["shipping"], "sentence"),
        "sample": (values["samples"][0], "prompt"),
        "settings": (values, "settings"),
        "decision": (values["rounds"][0], "decision"),
    }[where]
    target[key] = PAYLOAD
    page = Page(render(ReportData.model_validate(values)))
    assert len(page.named("script")) == 1  # the page's own
    assert not page.named("img")
    if where != "stage":
        assert PAYLOAD in page.text


def test_text_that_has_no_utf8_is_still_written(tmp_path: Path) -> None:
    values = example().model_dump(mode="json")
    values["evaluation"]["pairs"][0]["policy"] = "broken \ud800 half"
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


def test_a_verdict_by_a_programmed_preference_is_announced_even_with_human_labels() -> None:
    values = example().model_dump(mode="json")
    values["labels"]["simulated_judgements"] = 0
    assert "Simulated verdict." in Page(render(ReportData.model_validate(values))).text


def test_an_empty_run_says_what_has_not_run_yet() -> None:
    text = Page(render(ReportData(run="new", path="'my runs/new'"))).text
    for verb in ("label", "reward", "policy", "evaluate", "export"):
        assert f"rlhf {verb} --run 'my runs/new' to fill" in text
    assert len(re.findall("not run yet", text)) >= 5


def test_figures_that_are_missing_or_not_finite_do_not_stop_the_report() -> None:
    values = example().model_dump(mode="json")
    values["training"] = [{"step": 1, "score": math.nan, "kl": None}, {"step": 2, "score": 1.0, "kl": math.inf}]
    values["evaluation"]["mean_kl"] = math.nan
    values["evaluation"]["pairs"] = [{"prompt": "p", "base": "", "policy": "x"}]
    assert "(an empty response)" in Page(render(ReportData.model_validate(values))).text


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="win_rates"):
        ReportData.model_validate({"run": "demo", "evaluation": {"winrates": []}})


def test_a_run_without_alarms_says_so() -> None:
    values = example().model_dump(mode="json") | {"alarms": []}
    assert "No alarm went off." in Page(render(ReportData.model_validate(values))).text


def test_tokens_a_second_are_counted_by_phase_and_in_all() -> None:
    values = example().model_dump(mode="json")
    values["training"] = [{"step": 1, "score": 0.5, "tokens": 900, "seconds_sample": 2.0, "seconds_update": 1.0}]
    text = " ".join(Page(render(ReportData.model_validate(values))).text.split())
    assert "sample2.066.7%450update1.033.3%900 total3.0300" in text


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


def test_what_is_said_of_small_screens_is_not_overruled_below() -> None:
    """Rules of one selector count in their order, whether a condition stands around them or not."""
    css = re.sub(r"/\*.*?\*/", "", STYLE.read_text(encoding="utf-8"), flags=re.S)
    conditions = list(re.finditer(r"@media \(max-width[^{]*\{((?:[^{}]*\{[^{}]*\})*)\s*\}", css))
    assert conditions
    for condition in conditions:
        below = dict(re.findall(r"([^{}]+?)\s*\{([^{}]*)\}", re.sub(r"@media[^{]*\{", "", css[condition.end() :])))
        later = {selector.strip(): body for selector, body in below.items()}
        for selector, body in re.findall(r"\s*([^{}]+?)\s*\{([^{}]*)\}", condition[1]):
            for name in re.findall(r"([\w-]+)\s*:", body):
                assert not re.search(rf"(?:^|;)\s*{name}\s*:", later.get(selector, "")), (selector, name)
