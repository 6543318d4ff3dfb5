"""One GPU a process: the trainers of transformers would take all GPUs that one process sees, which TRL's refuse."""

from typing import TypeVar

import torch
from transformers import TrainingArguments

Arguments = TypeVar("Arguments", bound=TrainingArguments)


def on_one_gpu(arguments: Arguments, device: torch.device | None = None) -> Arguments:
    """The arguments, for a process that trains on one GPU however many there are: on `device`, or on the first."""
    arguments._n_gpu = min(arguments.n_gpu, 1)
    if device is not None:
        vars(arguments)["_setup_devices"] = device  # what `arguments.device` remembers
        if device.type == "cuda":
            torch.cuda.set_device(device)
    return arguments
