"""What the benchmarks of optimising a reward share: fits, turning points, drawings."""
