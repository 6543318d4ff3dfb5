"""Chat templates: what they write around an answer, and the one for models that have none."""
