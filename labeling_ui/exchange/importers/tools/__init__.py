"""Exports of annotation tools, whose fields and questions each team names as it likes.

`fields.py` finds the prompt and the responses of a record, `questions.py` what the questions of a whole file are for.
"""
