"""The reward model, a learned score (`scorer.py`), and programmatic rewards (`rewards/`). It knows no policy."""
