"""The rules of assignment as pure functions: which task is next, the order of display, which answers are valid.

Not here: leases and everything else that reads or writes the database (`store/`).
"""
