"""An answer that is given at the labeling page, and what comes after it."""
