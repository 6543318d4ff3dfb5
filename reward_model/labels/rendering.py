"""A label's texts as token ids, completed and cut as a reward model sees them."""

from backbone.tokens import Renderer
from reward_model.labels.records import Label


def rendered(label: Label, renderer: Renderer, max_length: int) -> tuple[list[int], list[list[int]], bool]:
    """The prompt, every response with its turn ended, and whether anything was cut.

    If the prompt and the longest response exceed `max_length` tokens, the oldest part of the prompt is cut, the same
    for all responses.
    """
    prompt = renderer.unbounded.prompt_ids(label.prompt)
    responses = [renderer.completed(renderer.response_ids(text)) for text in label.responses]
    return renderer.fit_all(prompt, responses, max_length)
