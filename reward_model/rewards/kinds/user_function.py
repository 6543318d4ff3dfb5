"""A reward function of the user's, by its dotted path.

It runs in a process of its own, which is what makes its time limit hold and keeps what it prints (prompts, keys) out of
logs. Its arguments travel as JSON. It is trusted code: nothing is kept from it.
"""

import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import Field

from foundation.errors import UserError
from reward_model.rewards.interface import Given, Kind, Reward
from reward_model.rewards.source_files import source_files
from reward_model.rewards.texts import Text

_CHILD = Path(__file__).with_name("user_function_process.py")
_log = logging.getLogger("rlhf.rewards")


class UserFunction(Kind):
    """Any function with the signature of a reward; values that it gives are taken as they are."""

    path: str = Field(description="package.module.function")
    arguments: dict[str, Any] = Field({}, description="keyword arguments that it is given besides the columns")
    seconds: float = Field(60.0, gt=0, description="time limit of a call, and of importing it")

    def make(self, given: Given) -> Reward:
        """See `Kind`."""
        process = FunctionProcess(self.path, self.seconds)

        def reward(prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:
            return process.call(dict(prompts=prompts, completions=completions, **{**columns, **self.arguments}))

        return reward

    def reads(self) -> Mapping[str, Sequence[Path]]:
        """See `Kind`: the function's module, and what it imports from beside it."""
        return {"function": source_files(self.path)}


class FunctionProcess:
    """The process in which the function at `path` lives; ends with this object."""

    def __init__(self, path: str, seconds: float) -> None:
        self.path, self.seconds = path, seconds
        self._told = False
        receiving, sending = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_CHILD), str(sending)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=[sending],
            start_new_session=True,
        )  # fmt: skip
        os.close(sending)
        self.close = weakref.finalize(self, _end, self._process, receiving)
        self._answers = receiving
        self._send({"path": path, "sys_path": sys.path})
        self._receive("could not be imported")

    def call(self, arguments: dict[str, Any]) -> list[float]:
        """The function's values; `UserError` if it raises, ends its process or takes too long."""
        self._send(arguments)
        answer = self._receive("failed")
        values: list[float] = answer["values"]
        return values

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            line = json.dumps(message).encode() + b"\n"
        except TypeError as error:
            raise UserError(f'the reward "{self.path}" cannot be given a column: {error}. Use JSON values.') from error
        with suppress(OSError, ValueError):  # if it has ended, receiving says how
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def _receive(self, failed: str) -> dict[str, Any]:
        deadline = time.monotonic() + self.seconds
        text = b""
        while not text.endswith(b"\n"):
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self.close()
                raise UserError(
                    f'the reward "{self.path}" took longer than {self.seconds:g} s and was stopped. '
                    "Make it faster, or raise its `seconds`."
                )
            part = os.read(self._answers, 1 << 16)
            if not part:
                self.close()
                raise UserError(f'the reward "{self.path}" ended its process (status {self._process.returncode}).')
            text += part
        answer: dict[str, Any] = json.loads(text)
        if answer["printed"] and not self._told:
            self._told = True
            _log.warning('the reward "%s" printed %d characters; they are not shown.', self.path, answer["printed"])
        if "error" in answer:
            raise UserError(f'the reward "{self.path}" {failed}: {answer["error"]}')
        return answer


def _end(process: "subprocess.Popen[bytes]", answers: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(OSError):
        assert process.stdin is not None
        process.stdin.close()
    process.wait()
    os.close(answers)
