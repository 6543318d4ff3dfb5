"""What reward and policy training share: whole checkpoints, running moments, activation checkpointing, quiet loading.

Losses and loops are in `reward_model` and `policy`.
"""
