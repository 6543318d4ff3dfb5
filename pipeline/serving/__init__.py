"""`rlhf serve`: the models of a run for programs (an OpenAI-compatible endpoint) and for people (a chat page).

Not here: who people are, and how what they judge is stored (`labeling_ui`).
"""
