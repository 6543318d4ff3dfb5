"""Reinforcement learning in the small: a Gymnasium environment for text, tabular and network agents, exact solutions.

Nothing that the pipeline's stages need; `rlhf play` and the lessons use it.
"""
