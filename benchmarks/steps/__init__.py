"""What the benchmark of one step is made of: the work, TRL's side of it, and the floor."""
