"""The one exception that a user is meant to read.

Its message says what is wrong, where, and what to do about it. The command line prints it without
a traceback and exits with status 2; everything else that escapes is a bug and keeps its traceback.
"""


class UserError(Exception):
    """Bad input or an impossible request; the message carries the value and the remedy."""
