"""Reward training: `train.py` trains one model, `train_ensemble.py` several. It knows no programmatic rewards."""
