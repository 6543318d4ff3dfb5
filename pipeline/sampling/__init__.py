"""Who draws responses: this program, or a server of the same model."""
