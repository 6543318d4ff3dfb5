"""The label store: one database, behind the class `Store` (`store.py`).

Not here: the rules of assignment (`assignment/`), accounts (`people/`), what judgements are worth (`quality/`).
"""
