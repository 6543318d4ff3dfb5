"""A whole run with made-up figures, as a report shows it."""

import math
import random

from pipeline.reporting.data import ReportData

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
VERDICT = {
    "by": "people", "opponent": "the base", "judgements": 46, "prompts": 46, "wins": 30, "ties": 6, "both_bad": 3,
    "losses": 7, "win_rate": 0.75, "low": 0.57, "high": 0.87,
}  # fmt: skip
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
                {"round": 0, "judgements": 1204, "pairs": 561, "reward_accuracy": 0.86, "mean_kl": 5.02}
                | {"verdict": VERDICT, "decision": "promoted", "seconds": 700.0, "memory": 4.8}
                | WIN_RATE,
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
                "further": 43,
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
                    rate("By simulated preference, sampled", 0.781, 0.703, 0.852, simulated=True),
                    rate("By reward-model score, sampled", 0.84, 0.765, 0.908),
                    rate("By simulated preference, greedy", 0.69, 0.597, 0.776, simulated=True),
                ],
                "mean_kl": 5.02,
                "measures": [
                    {"name": "Length, words", "base": 48.2, "policy": 29.7},
                    {"name": "Finished, share", "base": 0.24, "policy": 0.93},
                    {"name": "Distinct-2", "base": 0.81, "policy": 0.78},
                ],
                "pairs": pairs,
                "shown": 1,
            },
            "shipping": {
                "outcome": "ship",
                "sentence": "people preferred it to the base.",
                "evidence": [{"name": "KL", "said": "5.0 nats per response from the base; the limit is 6.0"}],
            },
            "verdict": VERDICT,
            "decisions": ["2026-11-22: the policy of round 0 became champion: people preferred it."],
            "samples": [{"prompt": "Say hello.", "responses": [(0, "Hello? Hello?"), (20, "Hello!")]}],
            "settings": "policy:\n  steps: 40\n",
            "seed": 0,
            "manifest": [
                stage("collect", "candidates.jsonl", 181.2, "2026-11-22 09:14"),
                stage("policy", "policy/", 411.7, "2026-11-22 09:25"),
            ],
            "adapter": "runs/demo/round-000/export",
            "load_snippet": SNIPPET,
        }
    )
