"""The configuration: every field of every stage, and where values come from (file, environment, `--set`)."""
