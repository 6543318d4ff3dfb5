"""The collect stage: which prompts are asked, and the responses that annotators judge."""
