"""How far labels can be trusted: agreement, each annotator's accuracy and weight, and what deserves a look.

Not here: the page that shows it (`web/admin/figures.py`).
"""
