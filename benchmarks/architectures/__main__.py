"""Is what the engine computes the model's own function? Every decoder architecture of the installed transformers.

A tiny random model of each is loaded as any model is, which chooses the ways of computing it (`backbone/exactness.py`).
Then everything that a run computes with it is compared with plain transformers and PEFT, one row at a time:
log-probabilities as sampled, in training and of the reference, in nats; the gradient of an adapter; a score; and the
logits of the exported adapter in a fresh copy. The table goes to `docs/models.md`.

    python -m benchmarks.architectures                    # all of them, in some minutes
    python -m benchmarks.architectures llama gemma2       # these, to the terminal
    python -m benchmarks.architectures --write gemma2     # this, in place of its row on the page
"""

import argparse
import logging
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import PeftModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from backbone.adapters import SharedBase, lora_config
from backbone.exactness import check
from backbone.hidden_states import last_states
from backbone.logprobs import response_logprobs
from backbone.own_function import as_published
from backbone.sampling import sample
from backbone.sampling_config import SamplingConfig
from benchmarks.architectures.tiny_models import tiny_model, tiny_tokenizer
from foundation.errors import UserError

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
PROMPTS = [[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], [44, 45], [100, 101, 102, 103, 104]]
SAMPLING = SamplingConfig(max_new_tokens=8, temperature=0.7)
_WAYS = {"stream": "stream", "padded": "padded", "alone": "by length"}
_DECODINGS = {"step": "cache, own attention", "cached": "cache", "cached_alone": "cache, by length"}


@dataclass(frozen=True)
class Measured:
    """One architecture: how it is computed and the largest differences, or why it is not.

    `sampled`, `training`, `reference` in nats; `cosine` of the adapter's gradient; `score` and `exported` (logits).
    """

    kind: str
    name: str
    scoring: str = ""
    decoding: str = ""
    head: str = ""
    sampled: float = 0.0
    training: float = 0.0
    reference: float = 0.0
    cosine: float = 1.0
    score: float = 0.0
    exported: float = 0.0
    refused: str = ""

    @property
    def exact(self) -> bool:
        """Whether all differences are what rounding in float32 explains."""
        differences = (self.sampled, self.training, self.reference, self.score, self.exported)
        return not self.refused and max(differences) < 1e-3 and self.cosine > 0.9999


def measure(kind: str) -> Measured:
    """Compare everything that a run computes with a tiny random model of this kind with plain transformers and PEFT."""
    model = tiny_model(kind)
    name = type(model).__name__
    model.requires_grad_(False)
    try:
        base = SharedBase(model, tiny_tokenizer(), kind)
        paths = check(base)
        base.add_adapter("policy", lora_config(4, 4), trainable=True)
    except UserError as error:
        return Measured(kind, name, refused=str(error))
    weights = list(base.parameters("policy").values())
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in weights:
            weight.copy_(torch.randn(weight.shape, generator=generator) * weight.shape[-1] ** -0.5)
        head = torch.randn(base.hidden_size, generator=generator) * base.hidden_size**-0.5
    with base.using("policy"):
        drawn = sample(base, PROMPTS, SAMPLING, group=2)
        rows = [(PROMPTS[one.prompt], one.response_ids) for one in drawn]
        ours = response_logprobs(base, *zip(*rows, strict=True), SAMPLING.temperature)  # type: ignore[arg-type]
        own, slopes = [], [_slopes(ours.logprobs.sum(), weights), torch.zeros(())]
        for row in rows:  # one after the other: some models write over what an earlier pass left for its gradient
            logprobs, state = _own(base, *row)
            slopes[1] = slopes[1] + _slopes(logprobs.sum(), weights)
            own.append((logprobs.detach(), state))
        with torch.no_grad():
            states = last_states(base, *zip(*rows, strict=True))  # type: ignore[arg-type]
    with torch.no_grad():
        off = response_logprobs(base, *zip(*rows, strict=True), SAMPLING.temperature).logprobs  # type: ignore[arg-type]
        reference = [_own(base, *row)[0] for row in rows]
    plain = [one for one, _ in own]
    return Measured(
        kind, name, _WAYS[paths.scoring], _DECODINGS.get(paths.decoding, "none"),
        "output embedding" if base.linear_head else "the model's own",
        sampled=max(_gap(torch.tensor(one.logprobs), it) for one, it in zip(drawn, plain, strict=True)),
        training=max(_gap(row[: len(it)], it) for row, it in zip(ours.logprobs.detach(), plain, strict=True)),
        reference=max(_gap(row[: len(it)], it) for row, it in zip(off, reference, strict=True)),
        cosine=float(torch.cosine_similarity(slopes[0], slopes[1], dim=0)),
        score=max(_gap(state @ head, it @ head) for state, (_, it) in zip(states, own, strict=True)),
        exported=_exported(base, kind, [[*prompt, *response] for prompt, response in rows]),
    )  # fmt: skip


def _own(base: SharedBase, prompt: list[int], response: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The response's log-probabilities and the last final state, by transformers' and PEFT's code alone."""
    kept: list[torch.Tensor] = []
    hook = base.decoder.register_forward_hook(lambda _module, _args, output: kept.append(output[0]))
    with as_published(base.base):
        logits = base.base(input_ids=torch.tensor([[*prompt, *response]]), use_cache=False).logits[0].float()
    hook.remove()
    logprobs = torch.log_softmax(logits[len(prompt) - 1 : -1] / SAMPLING.temperature, -1)
    return logprobs.gather(-1, torch.tensor(response)[:, None]).squeeze(-1), kept[0][0, -1].detach()


def _slopes(loss: torch.Tensor, weights: list[torch.nn.Parameter]) -> torch.Tensor:
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    pairs = zip(found, weights, strict=True)
    return torch.cat([(torch.zeros_like(weight) if one is None else one).flatten() for one, weight in pairs])


@torch.no_grad()
def _exported(base: SharedBase, kind: str, rows: list[list[int]]) -> float:
    """The largest difference of logits between the adapter here and its folder in plain PEFT."""
    with tempfile.TemporaryDirectory() as folder:
        base.save_adapter("policy", Path(folder))
        loaded = PeftModel.from_pretrained(tiny_model(kind), folder)
        found = []
        for row in rows:
            ids = torch.tensor([row])
            with base.using("policy"):
                ours = base.lm_head(base.hidden_states(ids, torch.ones_like(ids)))
            found.append(_gap(ours, loaded(input_ids=ids, use_cache=False).logits))
    return max(found)


def _gap(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


def table(rows: list[Measured]) -> str:
    """The rows in Markdown: what is computed first, then what is refused."""
    lines = [
        "| architecture | given tokens | sampling | head | "
        "sampled | training | reference | gradient | score | exported |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if not row.refused:
            gaps = (row.sampled, row.training, row.reference)
            lines.append(
                f"| {row.kind} | {row.scoring} | {row.decoding} | {row.head} | "
                + " | ".join(f"{gap:.0e}" for gap in gaps)
                + f" | {row.cosine:.6f} | {row.score:.0e} | {row.exported:.0e} |"
            )
    lines += ["", "Refused when they are loaded:", "", "| architecture | what is said |", "|---|---|"]
    lines += [f"| {row.kind} | {row.refused.replace('|', ' ')} |" for row in rows if row.refused]
    return "\n".join(lines)


def page(rows: list[Measured], without: dict[str, str]) -> str:
    """The whole of docs/models.md."""
    computed = [row for row in rows if not row.refused]
    wrong = [row.kind for row in computed if not row.exact]
    return f"""# Models

What is computed is the model's own function, or the model is refused before anything is sampled.

When a model is loaded, a few random tokens go through its own `forward`, one row at a time. The faster ways of
computing it must give the same states, with a random adapter on and without one; the fastest that does is taken
(`backbone/exactness.py`). `rlhf doctor --model NAME` says which these are for a model.

- *Given tokens*: in one stream in which responses share their prompt (CPU), in padded rows, or in rows of one length.
- *Sampling*: with a cache and our attention for one token (CPU), with the model's cache, with it for prompts of one
  length at a time, or without any (all tokens again for each).
- *Head*: the output embedding alone, or all that the model does after its decoder (caps, scales).

The table is written by `make models` from tiny random models in float32 of the decoder architectures of transformers
{transformers.__version__}, each compared with plain transformers and PEFT: the largest difference of log-probabilities
(nats) as sampled, in training and of the reference, the cosine of an adapter's gradient, the largest difference of a
score and of the exported adapter's logits. **{len(computed)} are computed, {len(rows) - len(computed)} refused, \
{len(wrong)} wrong{": " + ", ".join(wrong) if wrong else ""}.** Of {len(without)} more no tiny model could be made
here: {", ".join(sorted(without))}.

{table(rows)}
"""


def read_page(text: str) -> tuple[list[Measured], list[str]]:
    """The rows of the page, as far as it shows their figures, and the architectures that no tiny model was made of."""
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:2] == "| "]
    computed = [
        Measured(kind, "", scoring, decoding, head, *map(float, figures))
        for kind, scoring, decoding, head, *figures in (row for row in cells if len(row) == 10)
        if kind != "architecture"
    ]
    refused = [Measured(row[0], "", refused=row[1]) for row in cells if len(row) == 2 and row[0] != "architecture"]
    made = text.partition("no tiny model could be made\nhere: ")[2].partition(".\n")[0]
    return [*computed, *refused], made.split(", ")


def main() -> None:
    """Measure the architectures named, or all, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", help="model types; none: all, written to docs/models.md")
    parser.add_argument("--write", action="store_true", help="put these kinds' rows in place of those on the page")
    options = parser.parse_args()
    kinds = options.kinds
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    rows: list[Measured] = []
    without: dict[str, str] = {}
    names: list[Any] = kinds or list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    for number, kind in enumerate(names, 1):
        try:
            tiny_model(kind)
        except Exception as error:
            without[kind] = f"{type(error).__name__}: {error}"
            continue
        print(f"{number}/{len(names)} {kind}", file=sys.stderr, flush=True)
        try:
            rows.append(measure(kind))
        except Exception as error:
            rows.append(Measured(kind, "", sampled=float("inf"), scoring=f"crash: {type(error).__name__} {error}"))
    if kinds and not options.write:
        print(table(rows))
        print("\n".join(f"{kind}: {reason}" for kind, reason in without.items()))
        return
    if kinds:
        kept, lacking = read_page(PAGE.read_text(encoding="utf-8"))
        rows = sorted({row.kind: row for row in (*kept, *rows)}.values(), key=lambda row: row.kind)
        without = dict.fromkeys(lacking, "") | without
    PAGE.write_text(page(rows, without), encoding="utf-8")
    print(f"{PAGE}: {len(rows)} architectures, {sum(not row.refused for row in rows)} of them computed")


if __name__ == "__main__":
    main()
