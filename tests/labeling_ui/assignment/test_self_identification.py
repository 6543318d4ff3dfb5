"""Which responses say who wrote them."""

import pytest

from labeling_ui.assignment.self_identification import names_its_model


@pytest.mark.parametrize(
    ("response", "says"),
    [
        ("Hello! I'm ChatGPT, how can I help?", "I'm ChatGPT"),
        ("I am a language model trained by OpenAI.", "trained by OpenAI"),
        ("My name is\nClaude.", "My name is Claude"),
        ("我是通义千问，由阿里云开发。", "我是通义千问"),
        ("As an AI language model, I cannot feel.", None),
        ("Monet's first name was Claude, and llamas are animals.", None),
        ("The book was created by a friend.", None),
    ],
)
def test_responses_that_name_their_model_are_flagged(response: str, says: str | None) -> None:
    assert names_its_model(response) == says
