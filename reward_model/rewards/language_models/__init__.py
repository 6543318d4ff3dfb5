"""What rewards compute with a language model. Loaded only when such a reward is made: it needs torch."""
