"""`python -m rlhf_pipeline`: the `rlhf` command where only a module can be named, as with `accelerate launch -m`."""

from rlhf_pipeline.pipeline.cli import main

if __name__ == "__main__":
    main()
