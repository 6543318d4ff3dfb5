"""The files of a SQLite label store: who may read them, and what they lie on."""
