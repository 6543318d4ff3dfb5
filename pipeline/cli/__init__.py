"""The command line: `rlhf` and its commands. Only parsing and telling; the work is elsewhere."""
