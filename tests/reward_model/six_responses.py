"""Six responses that several scorers are compared on."""

from tests.reward_model.planted import planted

ROWS = planted(6, seed=5)
PROMPTS = [row["prompt"] for row in ROWS]
COMPLETIONS = [row["chosen"] for row in ROWS]
