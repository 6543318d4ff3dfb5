"""From a model's name to a frozen model and its tokenizer: folders, the demo model, device and dtype.

Adapters are put on it in `backbone/adapters.py`.
"""
