"""A crowd of annotators for the labeling benchmarks: a real server process, real databases, real HTTP."""
