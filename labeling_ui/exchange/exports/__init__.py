"""Judgements as datasets that TRL reads as they are: one module a subject, and all kinds by name in `registry.py`."""
