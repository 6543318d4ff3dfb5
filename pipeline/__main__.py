"""`python -m pipeline`: the `rlhf` command if only a module can be named, as with `accelerate launch -m`."""

import os
import sys
from pathlib import Path

# `-m` puts the current folder first on the path, where a folder named `policy`, say, would hide the package.
if sys.path[0] in ("", os.getcwd()):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.cli.commands import main

if __name__ == "__main__":
    main()
