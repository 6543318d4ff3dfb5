"""Prompts and responses in the chat format that TRL reads."""

from typing import Any

from labeling_ui.exchange.weighted_votes import VotedLabels


def prompt_messages(labels: VotedLabels, prompt_id: str) -> list[dict[str, Any]]:
    """The conversation that a response answers."""
    return [dict(message) for message in labels.prompts[prompt_id].messages]


def reply_messages(text: str) -> list[dict[str, str]]:
    """A response as the assistant's one turn."""
    return [{"role": "assistant", "content": text}]
