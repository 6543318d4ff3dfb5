"""The process that `user_function.py` starts: it calls one function of the user's, again and again.

Started as a script with nothing but the standard library. Reads a call as a line of JSON from standard input and
answers with a line on the descriptor it was given; what the function prints goes nowhere, and is counted.
"""

import importlib
import json
import os
import sys
from typing import Any


class Counter:
    """In place of standard output and standard error: keeps nothing but how much was written."""

    encoding = "utf-8"
    written = 0

    def write(self, text: str) -> int:
        """Count and forget."""
        self.written += len(text)
        return len(text)

    def flush(self) -> None:
        """There is nothing to flush."""

    def isatty(self) -> bool:
        """Never."""
        return False


def main() -> None:
    """Import the function, then answer calls until the input ends."""
    answers = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8")
    start = json.loads(sys.stdin.readline())
    sys.path[:] = start["sys_path"]
    nowhere = Counter()
    sys.stdout = sys.stderr = nowhere
    function: Any = None
    for line in _first_then(sys.stdin):
        answer: dict[str, Any] = {}
        try:
            if function is None:
                module, _, name = start["path"].rpartition(".")
                function = getattr(importlib.import_module(module), name)
            if line:
                values = function(**json.loads(line))
                answer["values"] = [float("nan") if value is None else float(value) for value in values]
        except BaseException as error:
            answer["error"] = f"{type(error).__name__}: {str(error)[:200]}{_where(error)}"
        answer["printed"], nowhere.written = nowhere.written, 0
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _first_then(lines: Any) -> Any:
    """An empty call, which only imports, before those that are sent."""
    yield ""
    yield from lines


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    inside = trace and trace.tb_frame.f_code.co_filename != __file__
    return (
        f" ({os.path.basename(trace.tb_frame.f_code.co_filename)}, line {trace.tb_lineno})" if trace and inside else ""
    )


if __name__ == "__main__":
    main()
