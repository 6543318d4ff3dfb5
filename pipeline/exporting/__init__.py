"""What leaves a run: the adapter as a PEFT folder with its card, and other formats made from it."""
