"""The labeling app: prompts and responses in, human judgements out.

Needs no model: whoever generates or learns is handed in, or reads the exports.
"""
