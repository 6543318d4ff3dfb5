"""Run folders: where things lie, what is up to date, and how an output is made and published whole.

`Run.stage` is the door; `make_output.py` reads from top to bottom behind it.
"""
