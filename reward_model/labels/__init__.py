"""Labels: their kinds, reading and splitting them, and how likely they are given scores. No models, no training."""
