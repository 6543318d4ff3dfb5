"""What a benchmark has finished, kept in a file, so that one that was stopped goes on where it was."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.crowd.machine import machine
from foundation.files import read_json, write_json


class Runs:
    """Figures of each finished run by name, beside the results file as NAME.runs.json.

    They are of one model, command and version of the settings; a file that was made with others is refused.
    """

    def __init__(self, results: Path, settings: dict[str, Any], total: int) -> None:
        self.path = results.with_suffix(".runs.json")
        found = read_json(self.path) if self.path.is_file() else {"settings": settings, "runs": {}}
        if found["settings"] != settings:
            sys.exit(
                f"{self.path} holds runs with other settings: {found['settings']}. Remove it, or name another file."
            )
        self.done: dict[str, Any] = found["runs"]
        self._settings, self._total, self._took = settings, total, list[float]()

    def once(self, name: str, run: Callable[[], Any]) -> Any:
        """The figures of `run`, from the file where they are known; says how long the rest is going to take."""
        if name not in self.done:
            start = time.monotonic()
            self.done[name] = run()
            self._took.append(time.monotonic() - start)
            about = {"machine": machine(), "command": " ".join(sys.argv), "settings": self._settings}
            write_json(self.path, {**about, "runs": self.done})
            left = (self._total - len(self.done)) * sum(self._took) / len(self._took) / 60
            print(f"{name}: {self._took[-1]:.0f} s; {len(self.done)} of {self._total} runs, about {left:.0f} min left",
                  file=sys.stderr, flush=True)  # fmt: skip
        return self.done[name]
