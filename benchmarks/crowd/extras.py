"""Packages that only the development extra installs: where one is missing, a benchmark ends in one sentence."""

import sys
from importlib.util import find_spec
from pathlib import Path


def require(*modules: str) -> None:
    """Go on if these can be imported; else end with status 1, naming the first that is missing and its remedy."""
    for module in modules:
        if find_spec(module) is None:
            script = Path(sys.argv[0]).name
            sys.exit(f"{script} needs {module}, which comes with the development extra: pip install -e '.[dev]'")
