"""The environment of these tests: six words about a cat, and a reward that counts letters."""

from typing import Any

from policy.textbook.environment import TextGenerationEnv

ID = "rlhf_pipeline/TextGeneration-v0"
CAT = ["the", "cat", "sat", "on", "mat", "."]


def letters(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
    """A reward: the letters written."""
    return [float(len(text.replace(" ", ""))) for text in completions]


def play(env: Any, actions: list[int], **reset: Any) -> list[tuple[float, bool, bool, dict[str, Any]]]:
    env.reset(**reset)
    return [env.step(action)[1:] for action in actions]


def cat_env(**changes: Any) -> TextGenerationEnv:
    return TextGenerationEnv(CAT, **{"reward": letters, "max_length": 4, "eos": "."} | changes)
