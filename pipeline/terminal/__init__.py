"""What a command shows while it works: progress bars, sparklines, the board of the policy stage."""
