"""Does the whole loop run on every kind of model? By the command that a user types, two rounds, RLOO and PPO.

A tiny random model of each kind is saved as a folder with a tokenizer; simulated annotators label. What counts is that
every stage ends, and that training's log-probabilities are the sampler's (`mismatch`, in nats, of the last step).

    python -m benchmarks.architectures.loops                 # all kinds, both algorithms
    python -m benchmarks.architectures.loops gemma2 opt      # these
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import transformers

from benchmarks.architectures.tiny_models import tiny_model, tiny_tokenizer
from foundation.files import write_json

KINDS = (
    "llama", "qwen3", "qwen3_5_text", "gemma2", "gemma3_text", "granite", "cohere", "phi3", "gpt2", "mixtral", "lfm2",
    "opt",
)  # fmt: skip
WITHOUT_TEMPLATE = ("gpt2",)
WORDS = ("cat", "dog", "hat", "rat", "bat", "fox", "owl", "ant", "bee", "cow", "hen", "pig")
VERBS = ("sat", "ran", "lay", "hid")
FURTHER = {"opt": {"policy.gradient_checkpointing": "true"}}
SETTINGS = {
    "dtype": "float32", "collect.candidates": "2", "collect.limit": "36", "collect.sampling.max_new_tokens": "6",
    "reward.epochs": "1", "policy.steps": "2", "policy.prompts_per_step": "2", "policy.group": "2",
    "policy.max_new_tokens": "6", "evaluate.sampling.max_new_tokens": "6", "collect.pairs_per_prompt": "1",
    "policy.accept_weak_reward": "true",
}  # fmt: skip


def save(kind: str, folder: Path) -> None:
    """The model and its tokenizer as an ordinary folder."""
    model = tiny_model(kind)
    tokenizer = tiny_tokenizer()
    if kind in WITHOUT_TEMPLATE:
        tokenizer.chat_template = None
    model.config.name_or_path = ""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def run(kind: str, algorithm: str, folder: Path) -> tuple[bool, str]:
    """Whether the loop ended with an adapter, and its figures or the last line of what it said."""
    prompts = folder / "prompts.jsonl"
    rows = [{"prompt": f"the {word} {verb} on the mat"} for word in WORDS for verb in VERBS]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    given = SETTINGS | FURTHER.get(kind, {}) | {
        "model": str(folder / kind), "policy.algorithm": algorithm, "collect.prompts": str(prompts),
    }  # fmt: skip
    settings = [part for name, value in given.items() for part in ("--set", f"{name}={value}")]
    run_folder = folder / f"{kind}-{algorithm}"
    command = [sys.executable, "-m", "pipeline", "loop", "--simulate", "--rounds", "2", "--run", str(run_folder)]
    done = subprocess.run([*command, *settings], capture_output=True, text=True, check=False)
    log = run_folder / "round-001" / "policy" / "log.jsonl"
    if done.returncode or not (run_folder / "round-001" / "export" / "adapter_config.json").is_file():
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        return False, f"rc {done.returncode}: {said[-1] if said else ''}"
    last = json.loads(log.read_text(encoding="utf-8").splitlines()[-1]) if log.is_file() else {}
    return True, ", ".join(f"{name} {value:.1e}" for name, value in last.items() if "mismatch" in name)


def main() -> None:
    """Run the loops and print how each ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=list(KINDS), help="model types")
    parser.add_argument("--algorithms", nargs="*", default=["rloo", "ppo"])
    parser.add_argument("--json", type=Path, help="write the results here too")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for kind in options.kinds:
            save(kind, Path(scratch) / kind)
            for algorithm in options.algorithms:
                began = time.monotonic()
                ended, said = run(kind, algorithm, Path(scratch))
                found[f"{kind} {algorithm}"] = {"ended": ended, "said": said}
                how, seconds = "ended" if ended else "FAILED", time.monotonic() - began
                print(f"{kind:14} {algorithm:5} {how} {seconds:4.0f} s  {said}", flush=True)
    if options.json:
        write_json(options.json, found)
    sys.exit(not all(one["ended"] for one in found.values()))


if __name__ == "__main__":
    main()
