"""Looking at a run without changing it: where it stands, and what an adapter was made from."""
