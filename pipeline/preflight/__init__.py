"""What later stages will need, asked before the first response is sampled or a label is asked for."""
