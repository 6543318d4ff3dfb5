"""What the configuration may say of how a base is loaded. Needs no torch: every command reads this."""

from typing import Literal

Quantization = Literal["int8", "nf4"]
