"""What each part of the pipeline costs as it grows: prompts, labels, tasks, annotators, tokens, the model.

Every part is measured at several sizes, each in a process of its own: processor seconds of the work alone, the least
of `--repeats`, and how far the process's peak memory rose meanwhile. The exponent is the slope of log seconds over log
size between the two largest sizes: 0 is a cost that does not grow, 1 one in proportion, 2 one that quadruples.

    python benchmarks/scale.py --json scale.json
    python benchmarks/scale.py --only tasks --most 10000
"""

import argparse
import dataclasses
import json
import math
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from foundation import threads
from foundation.files import write_json

Work = Callable[[], object]
_LARGE = (1_000, 10_000, 100_000)
_PER_ANNOTATOR = 30


class Part(NamedTuple):
    """Something whose size grows: `unit` is what is counted.

    `prepare` yields the work for a size, and cleans up after it. Work that is done `times` times is told for one.
    """

    unit: str
    sizes: tuple[int, ...]
    prepare: Callable[[int], Iterator[Work]]
    times: int = 1


def main() -> None:
    """Measure every part at every size, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="parts whose name has one of these words")
    parser.add_argument("--most", type=int, default=100_000, help="largest size to measure")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(PARTS[options.one[0]], int(options.one[1]), options.repeats)))
        return
    found: dict[str, dict[int, Any]] = {}
    print("| part | sizes | processor seconds | exponent | peak memory, MiB |\n|---|---|---|---|---|", flush=True)
    for name, part in PARTS.items():
        sizes = [size for size in part.sizes if size <= options.most]
        if sizes and (not options.only or any(word in name for word in options.only)):
            found[name] = {size: in_a_process(name, size, options.repeats) for size in sizes}
            print(_row(name, part, found[name]), flush=True)
    if options.json:
        write_json(options.json, found)


def in_a_process(name: str, size: int, repeats: int) -> dict[str, float]:
    """As `measure`, with nothing else in memory; the program ends if it fails."""
    command = [sys.executable, __file__, "--one", name, str(size), "--repeats", str(repeats)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} at {size} failed:\n{done.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure(part: Part, size: int, repeats: int) -> dict[str, float]:
    """`seconds` of the processor, the least of the repeats, and `mib`, the rise of this process's peak memory."""
    prepared = part.prepare(size)
    work, seconds, before = next(prepared), [], _peak()
    for _ in range(repeats):
        began = time.process_time()
        work()
        seconds.append((time.process_time() - began) / part.times)
    peak = _peak() - before
    next(prepared, None)
    return {"seconds": min(seconds), "mib": peak}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def exponent(sizes: list[int], seconds: list[float]) -> float | None:
    """The slope between the two largest sizes in logarithms; None if there is one size, or a cost of zero."""
    if len(sizes) < 2 or min(seconds[-2:]) <= 0:
        return None
    return math.log(seconds[-1] / seconds[-2]) / math.log(sizes[-1] / sizes[-2])


def _row(name: str, part: Part, figures: dict[int, Any]) -> str:
    seconds = [figures[size]["seconds"] for size in figures]
    slope = exponent(list(figures), seconds)
    shown = ", ".join(f"{each:.2g}" for each in seconds)
    sizes = ", ".join(f"{size:,}" for size in figures)
    told = "" if slope is None else f"{slope:.1f}"
    return f"| {name} | {sizes} {part.unit} | {shown} | {told} | {figures[max(figures)]['mib']:.0f} |"


# --- the parts ---


def _choosing_prompts(size: int) -> Iterator[Work]:
    from policy.native.train import prompts_of_step

    prompts_of_step(size, 8, 0, seed=0)  # the first of an epoch shuffles it
    yield lambda: [prompts_of_step(size, 8, step, seed=0) for step in range(1, 101)]


def _selecting_labels(size: int) -> Iterator[Work]:
    from reward_model.config import RewardConfig
    from reward_model.labels.selection import select

    rows = _rows(size)
    yield lambda: select(RewardConfig(), rows, seed=0).counts()


def _rendering_labels(size: int) -> Iterator[Work]:
    from backbone.exactness import load_shared_base
    from reward_model.labels.encoding import LabelEncoding
    from reward_model.labels.reading import to_labels
    from reward_model.training.sequences import to_sequences

    renderer = load_shared_base("demo", "float32").renderer
    labels = to_labels(_rows(size))
    yield lambda: to_sequences(labels, LabelEncoding.of(labels), renderer, 512)


def _rows(size: int) -> list[dict[str, Any]]:
    return [
        {"prompt": [{"role": "user", "content": f"Question {n}"}], "chosen": f"One {n}", "rejected": f"Other {n}"}
        for n in range(size)
    ]


@contextmanager
def _judged(size: int, share: float) -> Iterator[Any]:
    from benchmarks.crowd.server import database, fill, judge
    from labeling_ui.campaign import Campaign
    from labeling_ui.store.store import Store

    with database("sqlite") as url:
        fill(url, size, 0, Campaign())
        judge(url, share)
        store = Store(url)
        try:
            yield store
        finally:
            store.close()


def _answering(size: int) -> Iterator[Work]:
    from labeling_ui.data_model import Answer, Judgement

    with _judged(size, 0.5) as store:
        who = store.annotator("late").id

        def answer() -> None:
            for _ in range(50):
                shown = store.next_assignment(who)
                store.record(Judgement(shown.task.id, who, tuple(each.id for each in shown.shown), Answer("tie")))
                store.progress(who)

        yield answer


def _exporting(size: int) -> Iterator[Work]:
    from labeling_ui.exchange.exports.registry import rows

    with _judged(size, 1.0) as store:
        yield lambda: sum(1 for _ in rows(store, "preferences", None))


def _assessing(size: int) -> Iterator[Work]:
    from labeling_ui.quality.assessment import report

    with _judged(size, 1.0) as store:
        yield lambda: report(store)


def _estimating_skills(size: int) -> Iterator[Work]:
    from labeling_ui.quality.skill import Choice, estimate

    draw = random.Random(0)
    units = max(1, size * _PER_ANNOTATOR // 3)  # three votes each
    choices = [
        Choice(f"annotator {who}", f"pair {draw.randrange(units)}", draw.random() < 0.8)
        for who in range(size)
        for _ in range(_PER_ANNOTATOR)
    ]
    yield lambda: estimate(choices)


def _sampling(size: int) -> Iterator[Work]:
    from backbone.sampling import sample
    from backbone.sampling_config import SamplingConfig

    base, prompts = _endless("demo")
    yield lambda: sample(base, prompts, SamplingConfig(max_new_tokens=size), group=4, seed=0)


def _learning(size: int) -> Iterator[Work]:
    base, prompts = _endless("demo")
    yield _backward(base, prompts, size)


def _larger_models(size: int) -> Iterator[Work]:
    import tempfile

    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    from backbone.loading.model_name import resolve_model

    heads = {"num_attention_heads": size // 64, "num_key_value_heads": size // 64, "num_hidden_layers": 8}
    config = LlamaConfig(vocab_size=49152, hidden_size=size, intermediate_size=4 * size, **heads)
    with tempfile.TemporaryDirectory() as folder:
        AutoTokenizer.from_pretrained(resolve_model("demo")).save_pretrained(folder)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        base, prompts = _endless(folder)
        yield _backward(base, prompts, 32)


def _endless(model: str) -> Any:
    """A model with a policy's adapter, which never ends its responses, and eight prompts."""
    from backbone.adapters import lora_config
    from backbone.exactness import load_shared_base
    from benchmarks.policy_step import NEVER
    from benchmarks.steps.work import everyday_prompts

    base = load_shared_base(model, "float32")
    base.renderer = dataclasses.replace(base.renderer, eos_ids=(base.tokenizer.convert_tokens_to_ids(NEVER),))
    base.add_adapter("policy", lora_config(16, 32), trainable=True)
    return base, [base.renderer.prompt_ids(prompt) for prompt in everyday_prompts(8)]


def _backward(base: Any, prompts: list[list[int]], tokens: int) -> Work:
    """Log-probabilities of eight responses, and their gradient."""
    from backbone.logprobs import response_logprobs

    draw = random.Random(0)
    said = [[draw.randrange(1000, 40_000) for _ in range(tokens)] for _ in prompts]

    def work() -> None:
        with base.using("policy"):
            response_logprobs(base, prompts, said).logprobs.sum().backward()

    return work


PARTS = {
    "choosing a step's prompts": Part("prompts", _LARGE, _choosing_prompts, times=100),
    "choosing labels to train on": Part("labels", _LARGE, _selecting_labels),
    "rendering labels": Part("labels", _LARGE, _rendering_labels),
    "exporting preferences": Part("judged tasks", _LARGE, _exporting),
    "an answer and the next task": Part("tasks, half of them judged", _LARGE, _answering, times=50),
    "figures of a campaign": Part("judged tasks", _LARGE, _assessing),
    "skills of annotators": Part("annotators of 30 answers", (10, 100, 1_000), _estimating_skills),
    "sampling 32 responses": Part("tokens each", (16, 32, 64, 128), _sampling),
    "gradients of 8 responses": Part("tokens each", (16, 32, 64, 128), _learning),
    "gradients by the model": Part("hidden units in 8 layers", (256, 512, 1024), _larger_models),
}

if __name__ == "__main__":
    threads.settle()
    main()
