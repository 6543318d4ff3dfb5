"""Published sets of human judgements that have a layout of their own: one module a set."""
