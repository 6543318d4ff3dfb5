"""Silence for notices of transformers, TRL and PEFT about what is intended here; errors are still shown."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging


@contextmanager
def quiet() -> Iterator[None]:
    """No notices (a changed padding token, GPT-2's transposed layers), no progress bars, no FutureWarning."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            # TRL and PEFT still use names that transformers has deprecated; nothing here can change that.
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings("ignore", "fan_in_fan_out is set to False", UserWarning)  # PEFT then sets it
            yield
    finally:
        logging.set_verbosity(level)
