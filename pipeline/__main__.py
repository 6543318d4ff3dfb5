"""The `rlhf` command, also as `python -m pipeline` where only a module can be named, as with `accelerate launch -m`.

What must be settled before anything large is imported is settled here; the commands are in `cli/commands.py`.
"""

import os
import sys
from pathlib import Path

# `-m` puts the current folder first on the path, where a folder named `policy`, say, would hide the package.
if sys.path[0] in ("", os.getcwd()):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from foundation import threads
from pipeline.cli.interrupts import end_at_once


def main() -> None:
    """Run the command that was typed."""
    end_at_once()
    threads.settle()
    from pipeline.cli import commands

    commands.main()


if __name__ == "__main__":
    main()
