"""How good a reward model is on held-out pairs: accuracy, baselines, calibration, breakdowns. Nothing is trained."""
