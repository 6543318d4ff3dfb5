"""Which adapter of a run is its champion, by whose decision, and what a candidate must show to replace it."""
