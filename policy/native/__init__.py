"""This project's own training loop: sampling, updates, value networks, checkpoints.

Formulas are in `algorithms`, the project's use of TRL's trainers in `trl`.
"""
