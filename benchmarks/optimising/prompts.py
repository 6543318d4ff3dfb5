"""The prompts of benchmarks, short and of many kinds: they stay, so that published figures stay comparable."""

from pathlib import Path

PROMPTS = Path(__file__).with_name("prompts.jsonl")
"""Rows with `prompt`, a conversation that ends with a user's turn."""
