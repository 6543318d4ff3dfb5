"""Judgements from and to the outside: importers of other people's files, exports as datasets that TRL reads.

Not here: commands and pages, which call these.
"""
