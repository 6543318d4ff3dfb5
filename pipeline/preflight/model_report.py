"""What `rlhf doctor --model X` tells of a model: how each stage computes it, and whether any would refuse it.

Loads the model and tries it, as the first stage would; needs no run and writes nothing.
"""

from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from backbone.adapters import SharedBase
from backbone.loading.devices import choose_device
from foundation.files import Row
from foundation.sizes import Sizes
from pipeline.collection.prompts import EVERYDAY, parse_prompts
from pipeline.config.config import Config
from pipeline.preflight import memory
from pipeline.preflight.checks import Findings, check, loaded
from reward_model.sequence_classification import as_classifier

_SCORING = {
    "stream": "all rows in one stream, without padding; shared prompts once",
    "padded": "padded rows",
    "alone": "rows of one length at a time, for padding disturbs this model: slower",
}
_DECODING = {
    "step": "cached, with this project's attention for one token",
    "cached": "cached, rows of all lengths together",
    "cached_alone": "cached, prompts of one length at a time: slower",
    "recomputed": "all tokens again for each new one, for its cache gives other results: much slower",
}


@dataclass
class ModelReport:
    """Memory in GiB, differences in nats; what stays empty could not be found out, and `refusals` say why.

    `sampling` (collect, policy, evaluate) and `scoring` (reward, policy) name the ways that compute the model's own
    function. `sizes` say how much is computed at once (`foundation/sizes.py`). `differences` are the largest from the
    log-probabilities of its own forward pass.
    """

    model: str
    architecture: str = ""
    weights: int = 0
    template: str = ""
    ends_turns: list[str] = field(default_factory=list)
    padding: str = ""
    context: int = 0
    sampling: str = ""
    scoring: str = ""
    linear_head: bool | None = None
    differences: dict[str, float] = field(default_factory=dict)
    reward_class: str = ""
    lora_layers: dict[str, int] = field(default_factory=dict)
    lora_weights: dict[str, int] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    sizes: dict[str, int | None] = field(default_factory=dict)
    memory_free: float = 0.0
    memory_total: float = 0.0
    advice: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    def refuse(self) -> None:
        """Raise a `UserError` with every reason, if a stage would refuse."""
        Findings(self.refusals).refuse()


def examine(config: Config) -> ModelReport:
    """Try the model of `config` as the stages would, on the prompts that it names."""
    found = Findings()
    found = check(config, _prompts(config, found), found=found)
    report = ModelReport(config.model, lora_layers=found.layers, lora_weights=found.adapters)
    if found.model is not None:
        _describe(report, found.model)
        free, total = memory.available(config.device)
        report.memory_free, report.memory_total = _gib(free), _gib(total)
        report.sizes = found.sizes.model_dump() if found.sizes else {}
        report.memory = {stage: _gib(size) for stage, size in found.needed.items()}
        report.advice = memory.tight(config, found.needed, found.oversized)
        if not memory.too_large(config, found.model.base):
            with found.gathering():
                _try(report, loaded(config))
    report.refusals = found.reasons
    return report


def show(report: ModelReport, console: Console) -> None:
    """Print the report as two tables; refusals are left to whoever ends the command."""
    about = Table(title=f"The model {report.model}", title_justify="left", show_header=False)
    ends = ", ".join(report.ends_turns)
    differences = ", ".join(f"{what} {nats:.1e}" for what, nats in report.differences.items())
    layers = ", ".join(
        f"{stage} {number} ({report.lora_weights[stage]:,} weights)" for stage, number in report.lora_layers.items()
    )
    rows = {
        "architecture": f"{report.architecture}, {report.weights:,} weights" if report.architecture else "",
        "template": report.template,
        "ends a turn": ends,
        "padding": report.padding,
        "context": f"{report.context:,} tokens" if report.context else "",
        "LM head": {None: "", True: "the output embedding", False: "the model's own, with scales or caps"}[
            report.linear_head
        ],
        "differences": f"{differences} nats" if differences else "",
        "reward model": report.reward_class,
        "LoRA layers": layers,
    }
    for name, value in rows.items():
        about.add_row(name, value or "not found out")
    stages = Table("stage", "computes", "memory", title="Stages", title_justify="left")
    how = {"collect": _DECODING, "evaluate": _DECODING, "reward": _SCORING, "policy": _SCORING}
    for stage, needed in report.memory.items():
        ways = [how[stage].get(report.sampling if how[stage] is _DECODING else report.scoring, "not found out")]
        if stage == "policy":
            ways.insert(0, _DECODING.get(report.sampling, "not found out"))
        stages.add_row(stage, "; then ".join(ways), f"about {needed:.1f} GiB")
    console.print(about, markup=False)
    console.print(stages)
    if report.sizes:
        console.print(f"Sizes: {Sizes.model_validate(report.sizes)}.", highlight=False, soft_wrap=True)
    console.print(f"{report.memory_free:.1f} of {report.memory_total:.1f} GiB are free.", highlight=False)
    for word in report.advice:
        console.print(f"note: {word}", markup=False, highlight=False, soft_wrap=True)


def _prompts(config: Config, found: Findings) -> list[Row]:
    """Those that a first round would ask; without any, template and context are tried on nothing."""
    name, rows = config.collect.prompts, list[Row]()
    if name != "labels":
        with found.gathering():
            file = EVERYDAY if name in ("auto", "everyday") else Path(name)
            rows = parse_prompts(file, config.collect.held_out)
    return rows


def _describe(report: ModelReport, model: SharedBase) -> None:
    render, tokenizer = model.renderer, model.tokenizer
    report.architecture = type(model.base).__name__
    report.weights = sum(weight.numel() for weight in model.base.parameters())
    report.template = "plain text, continued" if render.plain else "chat"
    report.ends_turns = [str(tokenizer.convert_ids_to_tokens(end)) for end in render.eos_ids]
    report.padding = str(tokenizer.convert_ids_to_tokens(render.pad_id))
    report.context = render.max_length


def _try(report: ModelReport, base: SharedBase) -> None:
    """What only the weights tell."""
    report.sampling, report.scoring = base.paths.decoding, base.paths.scoring
    report.differences, report.linear_head = dict(base.paths.differences), base.linear_head
    classifier = as_classifier(base, base.base.config)
    report.reward_class = type(classifier).__name__ if classifier else "the causal model with a score head"
    slow = {_SCORING.get(report.scoring, ""), _DECODING.get(report.sampling, "")}
    report.advice += [f"it is computed with {way}." for way in sorted(slow) if way.endswith("slower")]
    if choose_device("auto").type == "cpu" and report.weights > 10**9:
        report.advice.append("models of this size are slow on a CPU; a GPU, or a smaller model, is better.")


def _gib(size: int) -> float:
    return round(size / memory.GIB, 3)
