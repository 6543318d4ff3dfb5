"""Preferences with a planted rule: the response that says "good" is preferred."""

import random
from typing import Any

WORDS = ["the", "cat", "sat", "on", "mat", "and", "dog", "ran"]


def planted(prompts: int, per_prompt: int = 1, seed: int = 0) -> list[dict[str, Any]]:
    """Rows as in preferences.jsonl; both responses have a random number of random words."""
    draw = random.Random(seed)

    def words() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(2, 5)))

    return [
        {
            "prompt": prompt,
            "chosen": [{"role": "assistant", "content": f"{words()} good"}],
            "rejected": [{"role": "assistant", "content": f"{words()} bad"}],
            "margin": draw.choice([1 / 3, 2 / 3, 1.0]),
        }
        for prompt in [[{"role": "user", "content": f"{number}: {words()}"}] for number in range(prompts)]
        for _ in range(per_prompt)
    ]
