"""`python -m pipeline`: the `rlhf` command where only a module can be named, as with `accelerate launch -m`."""

from pipeline.cli.commands import main

if __name__ == "__main__":
    main()
