"""What happens to the preference that is meant when a weak reward model is optimised instead of it.

Gold is a programmed preference (`rewards/text_preference.py`) that no training sees. The proxy is a reward model
trained on a few pairs of the base's responses, a share of them labelled wrongly. The proxy is optimised twice: by
best-of-n, and by RLOO without a KL penalty. Drawn is gold against the square root of the KL to the base, with the fits
of Gao et al. 2022 (eq. 1: d(alpha - beta d) for best-of-n, d(alpha - beta log d) for RL), and where gold turned down
beside where the alarms of the policy stage went on.

    python benchmarks/overoptimisation.py --json overoptimisation.json --figures docs/figures --pessimism 1

With `--pessimism K` each proxy is optimised once more as its mean less K of its standard deviations (the posterior of
its head), and gold is compared at the same KL. What is finished is kept in NAME.runs.json and NAME.proxies.
"""

import argparse
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from backbone.adapters import SharedBase
from backbone.exactness import load_shared_base
from backbone.sampling import sample
from backbone.sampling_config import SamplingConfig
from backbone.tokens import Ids
from benchmarks.optimising.curves import at_same_kl, fit, turning
from benchmarks.optimising.figures import draw_overoptimisation, draw_pessimism
from benchmarks.optimising.prompts import PROMPTS
from benchmarks.rewards.runs import Runs
from benchmarks.rewards.text_preference import hidden_preference, prompt_text
from foundation.files import read_jsonl, write_json
from policy.algorithms.kl import best_of_n_kl
from policy.best_of_n import chances, measured_kl
from reward_model.reward_folder import FIGURES
from reward_model.scorer import RewardScorer

Found = dict[str, Any]
LONGEST_PROMPT = 48  # tokens, with the chat template
TEMPERATURE = 0.8
HELD_OUT = 128  # pairs that tell how right the proxy is, less those between which gold is indifferent


class Gold:
    """The hidden preference of responses, from token ids."""

    def __init__(self, base: SharedBase) -> None:
        self.base = base
        rows = [row["prompt"] for _, row in read_jsonl(PROMPTS)]
        ids = [tuple(base.renderer.prompt_ids(messages)) for messages in rows]
        self.messages = {each: row for each, row in zip(ids, rows, strict=True) if len(each) <= LONGEST_PROMPT}

    @property
    def prompts(self) -> list[list[int]]:
        """The benchmarks' prompts, as far as they are short."""
        return [list(ids) for ids in self.messages]

    def of(self, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> list[float]:
        """One value a response, from -4 to 2.5."""
        return [
            hidden_preference(prompt_text(self.messages[tuple(prompt)]), self.base.renderer.text(response))
            for prompt, response in zip(prompt_ids, response_ids, strict=True)
        ]


class Watched:
    """The proxy as a scorer, with the gold and the proxy's own uncertainty in the log; training sees neither."""

    def __init__(self, proxy: RewardScorer, gold: Gold, pessimism: float) -> None:
        self._proxy, self._gold, self._pessimism = proxy, gold, pessimism
        self._parts: dict[str, list[float]] = {}

    def score(self, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> torch.Tensor:
        """The proxy's score less `pessimism` of its standard deviations: (n,)."""
        means, stds = self._proxy.score(prompt_ids, response_ids, return_std=True)
        gold = self._gold.of(prompt_ids, response_ids)
        self._parts = {"proxy": means.tolist(), "proxy_std": stds.tolist(), "gold": gold}
        return means - self._pessimism * stds

    @property
    def parts(self) -> Mapping[str, Sequence[float]]:
        """What the log has besides the score."""
        return self._parts

    def state(self) -> None:
        """Nothing has to be kept."""

    def restore(self, state: None) -> None:
        """Nothing was kept."""


def main() -> None:
    """Run what is missing, print the fits, and write the figures."""
    options = _options()
    names = ("model", "labels", "noise", "steps", "new_tokens", "learning_rate", "best_of", "prompts")
    settings = {name: getattr(options, name) for name in names}
    results = options.json or Path("overoptimisation.json")
    arms = ["proxy", *([f"pessimism {options.pessimism:g}"] if options.pessimism else [])]
    runs = Runs(results, settings, options.seeds * (2 + len(arms)))
    found: dict[str, dict[str, Found]] = {name: {} for name in ("reward model", "best of n", *arms)}
    for seed in range(options.seeds):
        proxy = results.with_suffix(".proxies") / f"seed-{seed}"
        key = str(seed)
        found["reward model"][key] = runs.once(
            f"reward model, seed {seed}", lambda p=proxy, s=seed: train_proxy(p, s, options)
        )
        if not (proxy / FIGURES).is_file():
            sys.exit(f"{proxy} is gone, but {runs.path} says that it was made. Remove that file and run again.")
        found["best of n"][key] = runs.once(
            f"best of n, seed {seed}", lambda p=proxy, s=seed: best_of_n_curve(p, s, options)
        )
        for arm, pessimism in zip(arms, (0.0, options.pessimism), strict=False):
            found[arm][key] = runs.once(
                f"{arm}, seed {seed}", lambda p=proxy, s=seed, k=pessimism: optimise(p, s, k, options)
            )
    told = summary(found, arms)
    write_json(results, told)
    print(as_text(told))
    if options.figures:
        draw_overoptimisation(told, options.figures / "overoptimisation.svg")
        if options.pessimism:
            draw_pessimism(told, options.figures / "pessimism.svg")


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--figures", type=Path, help="folder for the drawings")
    parser.add_argument("--pessimism", type=float, default=0.0, metavar="K", help="also with K standard deviations off")
    parser.add_argument("--seeds", type=int, default=3, help="each has its own labels, proxy and training")
    parser.add_argument("--labels", type=int, default=96, help="pairs that the proxy is trained on")
    parser.add_argument("--noise", type=float, default=0.25, help="share of them labelled wrongly")
    parser.add_argument("--steps", type=int, default=45, help="updates; each samples 8 prompts 4 times")
    parser.add_argument("--prompts", type=int, default=16, help="prompts of best-of-n")
    parser.add_argument("--best-of", type=int, default=64, help="responses to each of them, a power of 2")
    parser.add_argument("--new-tokens", type=int, default=24, help="longest response")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--model", default="demo", help='"demo", a folder, or a hub id')
    return parser.parse_args(arguments)


def train_proxy(folder: Path, seed: int, options: argparse.Namespace) -> Found:
    """A reward model from a few noisy labels of pairs of the base's responses; its accuracy on labels without noise."""
    from reward_model.config import RewardConfig
    from reward_model.training.train import train_reward

    base = load_shared_base(options.model)
    gold, draw = Gold(base), random.Random(seed)
    asked = draw.sample(gold.prompts, len(gold.prompts))
    sampling = SamplingConfig(max_new_tokens=options.new_tokens, temperature=TEMPERATURE)
    drawn = sample(base, asked[: options.labels + HELD_OUT], sampling, group=2, seed=1000 + seed)
    rows: list[dict[str, Any]] = []
    for first, second in zip(drawn[::2], drawn[1::2], strict=True):
        prompt = asked[first.prompt]
        liked = gold.of([prompt] * 2, [first.response_ids, second.response_ids])
        texts = [base.renderer.text(one.response_ids) for one in (first, second)]
        if liked[0] == liked[1] or not all(text.strip() for text in texts):
            continue
        better = int(liked[1] > liked[0])
        wrong = len(rows) < options.labels and draw.random() < options.noise  # the held-out labels are all right
        chosen, rejected = (texts[1 - better], texts[better]) if wrong else (texts[better], texts[1 - better])
        rows.append({"prompt": gold.messages[tuple(prompt)], "chosen": _turn(chosen), "rejected": _turn(rejected)})
    train, test = rows[: options.labels], rows[options.labels :]
    config = RewardConfig(learn="adapter", epochs=3, margin=False, checkpoint_every=1000)
    figures = train_reward(config, options.model, train, folder, seed=seed, held_out=test)
    return {name: figures[name] for name in ("accuracy", "accuracy_low", "accuracy_high", "n", "training_pairs")}


def _turn(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def best_of_n_curve(proxy: Path, seed: int, options: argparse.Namespace) -> Found:
    """Proxy and gold of the best of 1, 2, 4 ... responses by the proxy, with the KL by formula and as measured."""
    base = load_shared_base(options.model)
    gold, scorer = Gold(base), RewardScorer.load(proxy, base)
    prompts = gold.prompts[: options.prompts]
    sampling = SamplingConfig(max_new_tokens=options.new_tokens, temperature=TEMPERATURE)
    drawn = sample(base, prompts, sampling, group=options.best_of, seed=2000 + seed)
    asked, answers = [prompts[one.prompt] for one in drawn], [one.response_ids for one in drawn]
    scores = scorer.score(asked, answers).double().view(len(prompts), -1)
    liked = torch.tensor(gold.of(asked, answers), dtype=torch.float64).view(len(prompts), -1)
    numbers = [2**power for power in range(options.best_of.bit_length())]
    kept = {n: chances(scores, n) for n in numbers}
    return {
        "n": numbers,
        "kl": [best_of_n_kl(n) for n in numbers],
        "kl_measured": [float(measured_kl(scores, n).mean()) for n in numbers],
        "proxy": [float((kept[n] * scores).sum(1).mean()) for n in numbers],
        "gold": [float((kept[n] * liked).sum(1).mean()) for n in numbers],
    }


def optimise(proxy: Path, seed: int, pessimism: float, options: argparse.Namespace) -> Found:
    """RLOO against the proxy without a KL penalty: KL, proxy, gold and the alarms that were on, a step each."""
    from policy.config import PolicyConfig
    from policy.native.train import train_policy

    base = load_shared_base(options.model)
    gold = Gold(base)
    scorer = Watched(RewardScorer.load(proxy, base), gold, pessimism)
    config = PolicyConfig(
        algorithm="rloo",
        steps=options.steps,
        prompts_per_step=8,
        group=4,
        max_new_tokens=options.new_tokens,
        temperature=TEMPERATURE,
        kl_coefficient=0.0,
        length_control="none",
        stop_on=(),
        missing_eos_penalty=0.0,
        learning_rate=options.learning_rate,
        checkpoint_every=options.steps,
    )
    log: dict[str, list[Any]] = {name: [] for name in ("kl", "proxy", "gold", "std", "length", "alarms")}

    def tell(row: Mapping[str, Any]) -> None:
        names = ("kl", "score_proxy", "score_gold", "score_proxy_std", "length")
        for name, figure in zip(log, names, strict=False):
            log[name].append(round(float(row[figure]), 4))
        log["alarms"].append(list(row.get("alarms", ())))
        print(f"\rseed {seed}, pessimism {pessimism:g}: step {row['step']} of {config.steps}, proxy "
              f"{log['proxy'][-1]:.2f}, gold {log['gold'][-1]:.2f} ", end="", file=sys.stderr, flush=True)  # fmt: skip

    with tempfile.TemporaryDirectory() as scratch:
        train_policy(config, base, scorer, gold.prompts, Path(scratch), seed=seed, on_step=tell)
    print(file=sys.stderr)
    return log


def summary(found: Mapping[str, Mapping[str, Found]], arms: Sequence[str]) -> Found:
    """The runs of every seed, with the turning points, the alarms and the fits."""
    start = {seed: run["gold"][0] for seed, run in found["best of n"].items()}  # the base's own
    fits = {"best_of_n": _fit("best of n", found["best of n"], start)}
    trained: dict[str, dict[str, Found]] = {}
    for arm in arms:
        fits[arm] = _fit("rl", found[arm], start)
        trained[arm] = {
            seed: {**log, **turning(log["gold"]), "first_alarms": first_alarms(log["alarms"])}
            for seed, log in found[arm].items()
        }
    told: Found = {
        "base_gold": start,
        "reward_model": found["reward model"],
        "best_of_n": found["best of n"],
        "rl": trained,
        "fits": fits,
    }
    if len(arms) > 1:
        each = {seed: at_same_kl(trained[arms[1]][seed], log) for seed, log in trained[arms[0]].items()}
        told["pessimism"] = {"arms": list(arms), "gold_gained_at_same_kl": each}
    return told


def _fit(kind: str, runs: Mapping[str, Found], start: Mapping[str, float]) -> Found:
    return fit(kind, [(run["kl"], run["gold"], start[seed]) for seed, run in runs.items()])


def first_alarms(alarms: Sequence[Sequence[str]]) -> dict[str, int]:
    """By name, the first step at which each alarm was on."""
    first: dict[str, int] = {}
    for step, names in enumerate(alarms, 1):
        for name in names:
            first.setdefault(name, step)
    return first


def as_text(told: Found) -> str:
    """The outcome in a few lines."""
    lines = []
    for name, found in told["fits"].items():
        if found["alpha"] is not None:
            where = f", turns down at a KL of {found['turns_at_kl']:.1f}" if found["turns_at_kl"] else ""
            lines.append(f"{name}: alpha {found['alpha']:.2f}, beta {found['beta']:.2f}, R² {found['r2']:.2f}{where}")
    for arm, runs in told["rl"].items():
        for seed, run in runs.items():
            alarms = ", ".join(f"{name} at {step}" for name, step in run["first_alarms"].items()) or "none"
            turned = f"turned down after step {run['best_step']}" if run["turned"] else "did not turn down"
            gold = f"{run['best_gold']:.2f} at best, {run['last_gold']:.2f} at the end"
            lines.append(f"{arm}, seed {seed}: gold {turned} ({gold}); alarms: {alarms}")
    for seed, gained in told.get("pessimism", {}).get("gold_gained_at_same_kl", {}).items():
        far = f"up to a KL of {gained['up_to_kl']:.1f}"
        lines.append(
            f"pessimism, seed {seed}: gold {gained['mean']:+.2f} on average {far}, {gained['at_most']:+.2f} there"
        )
    measured = [(run["kl"][-1], run["kl_measured"][-1]) for run in told["best_of_n"].values()]
    formula, seen = np.mean(measured, axis=0)
    lines.append(f"KL of best-of-n, largest n: {formula:.3f} nats by the formula, {seen:.3f} measured")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
