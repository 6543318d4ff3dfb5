"""What each line of shell in the documentation is to do, or why it cannot run in the tests.

A line that is in neither list fails `test_documentation_shell.py`. So does one that is in both, or on no page.
"""

import fnmatch
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec

import torch

from tests.pipeline import tiny
from tests.terminal import Shown, shown_on
from tests.test_documentation import ROOT

BENCHMARKS = ROOT / "benchmarks" / "README.md"


@dataclass(frozen=True)
class Line:
    """What a line is to do; `left` are patterns of files, each new or changed afterwards."""

    left: tuple[str, ...] = ()
    says: str = ""
    answers: str = ""  # to what it asks
    serves: bool = False
    given: Mapping[str, object] = field(default_factory=dict)  # files that the page speaks of, and their rows
    without: str = ""  # what is deleted before, so that there is something to do


@dataclass(frozen=True)
class NotHere:
    """Why a line cannot run here, as long as `holds`; where it `says` something, it is tried and has to fail so."""

    why: str
    holds: Callable[[], bool]
    says: str = ""


PAIRS = [
    {"prompt": tiny.ask(f"tell me of the {topic}"), "chosen": f"the {topic} sat", "rejected": "mat mat"}
    for topic in ("sea", "sun", "sky", "hill")
]
ANSWERS = [{"prompt": tiny.ask("tell me of the sea"), "response": "the sea sat"}]
RESPONSES = [{"prompt": row["prompt"], "responses": [f"a {row['chosen']}", "a mat"]} for row in PAIRS]
ADAPTER = ("*/policy/adapter_model.safetensors", "*/policy/log.jsonl", "*/manifest.json")
POLICY = Line(left=ADAPTER, without="runs/mine/round-001/policy")
LAUNCHED = Line(left=ADAPTER, says="2/2", without="runs/mine/round-001/policy")

LINES = {  # a line, or a pattern of lines
    "make demo": Line(("runs/demo/report.html", "runs/demo/round-000/export/adapter_model.safetensors")),
    "torchrun --standalone --nproc_per_node 2 -m -- pipeline reward --run runs/mine": Line(
        ("*/reward/adapter_model.safetensors", "*/manifest.json"), without="runs/mine/round-001/reward"
    ),
    "accelerate launch --multi_gpu --num_processes 2 *": LAUNCHED,
    "torchrun * policy *": LAUNCHED,
    # docs/commands.md
    "make policy RUN=runs/mine CONFIG=mine.yaml ARGS='--set policy.learning_rate=0.0001'": POLICY,
    "rlhf policy --run runs/mine --config mine.yaml --set policy.learning_rate=0.0001": Line(
        says="policy: already done"
    ),
    "rlhf policy --profile --run runs/mine": Line((*ADAPTER, "*/profile/trace.json.gz"), without=POLICY.without),
    "rlhf doctor --model demo": Line(says="GiB are free"),
    "rlhf play configs/play/cat_on_the_mat.yaml --set learner.baseline=none --set seed=3": Line(says="writes the"),
    "rlhf users add Ann --role admin --email ann@example.org --run runs/mine": Line(
        ("runs/mine/labels.db",), says="Ann can sign in as admin", answers="correct horse\ncorrect horse\n"
    ),
    "rlhf users invite --role annotator --hours 24 --url https://label.example.org --run runs/mine": Line(
        ("runs/mine/labels.db",), says="https://label.example.org/invitation/"
    ),
    "rlhf users assign Ann --campaign main --run runs/mine": Line(
        ("runs/mine/labels.db",), says='the campaign "main" is for Ann'
    ),
    "rlhf users log --run runs/mine": Line(says="command line"),
    "rlhf users forget Ann --judgements delete --run runs/mine": Line(
        ("runs/mine/labels.db",), says="users: forgotten", answers="y\n"
    ),
    "rlhf collect --run runs/mine --set label.kind=ranking --set label.name=ranking --set label.responses=3": Line(
        ("runs/mine/labels.db",), says="tasks to judge"
    ),
    "rlhf label --run runs/mine --set label.kind=ranking --set label.name=ranking --set label.responses=3": Line(
        ("runs/mine/labels.db",), serves=True
    ),
    "rlhf label --run runs/mine --set label.overlap=1 --set label.max_overlap=5 --set label.confidence=0.9": Line(
        ("runs/mine/labels.db",), serves=True
    ),
    "rlhf import --format trl FILE --map prompt=instruction --dry-run --run runs/imported": Line(
        says="4 judgements would be taken",
        given={"FILE": [{**row, "instruction": "why?", "prompt": None} for row in PAIRS]},
    ),
    "rlhf export --to merged --out whole --dtype float32 --run runs/mine": Line(("whole/model.safetensors",)),
    "rlhf export --to gguf --out gguf --run runs/mine": Line(("gguf/mine-round-001.gguf", "gguf/README.md")),
    "rlhf export --to ollama --out ollama --run runs/mine": Line(("ollama/Modelfile",)),
    "rlhf export --to hub --repo someone/mine *": Line(says="nothing was sent"),
    "rlhf labels export preferences.jsonl --kind preferences --run runs/mine": Line(("preferences.jsonl",)),
    "rlhf lineage round-000 --run runs/mine": Line(says="still that of the store"),
    "rlhf samples --run runs/mine": Line(says="step 0:"),
    "rlhf status --run runs/mine": Line(says="next: rlhf"),
    'rlhf promote --force --reason "it reads well" --run runs/mine': Line(
        ("runs/mine/champion.json",), says="by hand, round-001 is the champion: it reads well"
    ),
    'rlhf rollback --reason "it answers rudely" --run runs/mine': Line(
        ("runs/mine/champion.json",), says="the champion is base again, and no longer round-001"
    ),
    "rlhf evaluate-reward --reward runs/mine/round-001/reward --against runs/mine/round-000/reward "
    "--pairs fresh.jsonl --json figures.json": Line(("figures.json",), given={"fresh.jsonl": PAIRS}),
    # docs/labeling.md, docs/rewards.md, docs/scaling.md
    "rlhf label --run runs/mine": Line(("runs/mine/labels.db.secret",), says="become its admin", serves=True),
    "rlhf policy --run runs/mine --config mine.yaml": POLICY,
    "accelerate launch --config_file configs/accelerate/ddp.yaml --num_processes 4 *": LAUNCHED,
    "rlhf collect --run runs/mine --set collect.candidates=8 --set collect.pairs_per_prompt=2 "
    "--set collect.chooser=d_optimal": Line(("*/round-00?/features.safetensors",)),
    "rlhf collect --run runs/mine --set sampler.endpoint=http://localhost:8000/v1 --set sampler.model=MODEL": Line(
        says="collect: already done"  # by this program: who samples changes nothing that was made
    ),
    # docs/serving.md
    "rlhf keys add Ann --run runs/mine": Line(("runs/mine/labels.db",), says="It is not shown again"),
    "rlhf keys list --run runs/mine": Line(says="Ann"),
    "rlhf serve --run runs/mine": Line(says="become its admin", serves=True),
    # docs/walkthrough.md
    "make doctor": Line(says="the demo model"),
    "source .venv/bin/activate": Line(),
    "rlhf collect --run runs/mine --config mine.yaml": Line(("*/round-000/candidates.jsonl", "runs/mine/config.yaml")),
    "rlhf label --run runs/mine --root-path /labels": Line(
        ("runs/mine/labels.db",), says="/labels/invitation/", serves=True
    ),
    "rlhf label --run runs/mine --config notices.yaml": Line(says="Notices go to address 1 (mailtos)", serves=True),
    "rlhf reward --run runs/mine": Line(("*/reward/adapter_model.safetensors", "*/reward/reward.json")),
    "rlhf policy --run runs/mine": Line(ADAPTER),
    "rlhf evaluate --run runs/mine": Line(("*/round-000/evaluation.json",)),
    "rlhf export --run runs/mine": Line(("*/export/adapter_model.safetensors", "*/export/README.md")),
    "rlhf report --run runs/mine": Line(("runs/mine/report.html", "runs/mine/summary.json")),
    "rlhf loop --run runs/mine --rounds 2": Line(("*/round-001/candidates.jsonl",), says="wait for their judges"),
    "rlhf score answers.jsonl --reward runs/mine/round-000/reward --out scored.jsonl": Line(
        ("scored.jsonl",), given={"answers.jsonl": ANSWERS}
    ),
    "rlhf evaluate-reward --reward runs/mine/round-000/reward --pairs pairs.jsonl --json figures.json": Line(
        ("figures.json",), given={"pairs.jsonl": PAIRS}
    ),
}

SPANS = {  # commands that no block shows: they run where a sentence does
    "rlhf import --format trl FILE --run runs/mine": Line(("*/labels.db",), says="4 judgements", given={"FILE": PAIRS}),
    "rlhf import --format responses FILE --run runs/mine": Line(
        ("*/labels.db",), says="4 tasks taken", given={"FILE": RESPONSES}
    ),
    "rlhf merge runs/mine/round-000/export merged": Line(("merged/model.safetensors",)),
    "rlhf users list": Line(says="simulated"),
    "rlhf labels verify --run runs/mine": Line(says="is whole"),
    "rlhf labels backup FILE --run runs/mine": Line(("FILE",)),
    "rlhf label --run runs/mine --simulate": Line(("runs/mine/labels.db",), says="no person was asked"),
}


def _ci_runs(line: str) -> Callable[[], bool]:
    said = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    return lambda: any(re.fullmatch(rf"(if ! )?{line}(; then)?", each) for each in said)


def _no_vllm() -> bool:
    return find_spec("vllm") is None


def _measures_alone() -> bool:
    return "Run each alone on the machine" in BENCHMARKS.read_text(encoding="utf-8")


NOT_HERE = {
    "rlhf plan --run runs/mine": NotHere(
        "the run of these tests has a few pairs", lambda: True, says="too few labels to tell what more would do"
    ),
    "rlhf verdict --run runs/mine": NotHere(
        "the run of these tests holds out four prompts", lambda: True, says="could never decide on 4 held-out prompts"
    ),
    "rlhf users role Ann reviewer --run runs/mine": NotHere(
        "Ann is the only admin in these tests", lambda: True, says="is the only admin"
    ),
    "rlhf keys revoke ID --run runs/mine": NotHere("ID stands for one", lambda: True, says='there is no key "ID"'),
    "rlhf users qualify Ann --again --run runs/mine": NotHere(
        "no campaign of these tests has a qualification round", lambda: True, says="has no qualification round"
    ),
    "rlhf label --run runs/mine --config notices.yaml --test-notice": NotHere(
        "example.org takes no notices", lambda: True, says="not every address of label.notices took the test notice"
    ),
    "make test": NotHere("it is what runs this; continuous integration runs it", _ci_runs("make test")),
    "make lint": NotHere("continuous integration runs it, before the tests", _ci_runs("make lint")),
    "make clients": NotHere("installs further packages", lambda: find_spec("xllamacpp") is None),
    "git clone REPOSITORY rlhf-pipeline && cd rlhf-pipeline": NotHere(
        "REPOSITORY stands for an address", lambda: True, says="repository 'REPOSITORY' does not exist"
    ),
    "rlhf labels export --kind unpaired --push-to-hub someone/labels --run runs/mine": NotHere(
        "publishes on the hub", lambda: True, says="could not push to someone/labels"
    ),
    "rlhf label --run runs/mine --set label.database=postgresql://labeler@db.example.org/labels": NotHere(
        "the database is on another host", lambda: True, says="db.example.org"
    ),
    "rlhf policy --run runs/mine --set policy.engine=trl --set policy.vllm=colocate": NotHere(
        "needs vLLM", _no_vllm, says="needs vLLM, which is not installed"
    ),
    "vllm serve MODEL --port 8000 --generation-config vllm --enable-lora *": NotHere(
        "needs vLLM", _no_vllm, says="vllm"
    ),
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve *": NotHere("needs vLLM", _no_vllm, says="vllm"),
    "rlhf policy --run runs/mine --set sampler.endpoint=http://localhost:8000/v1 *": NotHere(
        "needs a server at that address", lambda: True
    ),
    "CUDA_VISIBLE_DEVICES=0 trl vllm-serve --model MODEL --port 8000": NotHere("needs vLLM", _no_vllm, says="vllm"),
    "CUDA_VISIBLE_DEVICES=1,2,3 accelerate launch * policy.vllm=http://localhost:8000": NotHere(
        "needs vLLM, and a server of it", _no_vllm
    ),
    "accelerate launch * --num_machines 2 *": NotHere("needs two machines", lambda: True),
    "accelerate launch --config_file configs/accelerate/fsdp2.yaml --num_processes 4 *": NotHere(
        "shards the weights among four GPUs", lambda: torch.cuda.device_count() < 4
    ),
} | {
    shown.name: NotHere("measures for minutes or hours, alone on the machine", _measures_alone)
    for shown in shown_on(BENCHMARKS)
    if shown.language == "sh"
}


def reason_not_here(shown: Shown) -> NotHere | None:
    return next((why for pattern, why in NOT_HERE.items() if fnmatch.fnmatchcase(shown.name, pattern)), None)


def line_of(shown: Shown) -> Line | None:
    stated = (LINES | SPANS).items()
    return next((line for pattern, line in stated if fnmatch.fnmatchcase(shown.name, pattern)), None)
