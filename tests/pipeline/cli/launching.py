"""Several processes of one command, started as the documentation does it, watched and stopped."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

LAUNCHERS = {
    "accelerate": "accelerate launch --multi_gpu --num_processes 2 --main_process_port 0 -m pipeline",
    "torchrun": "torchrun --standalone --nproc_per_node 2 -m -- pipeline",
}


class Launch:
    """A launcher that is at work, and its processes; what they print goes to `log`."""

    def __init__(self, command: str, log: Path, *arguments: str) -> None:
        words = [*(LAUNCHERS.get(command) or command).split(), *arguments]
        words[0] = shutil.which(words[0], path=Path(sys.executable).parent) or words[0]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
        with log.open("w") as file:
            self.launcher = subprocess.Popen(
                words, stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        self.log = log

    def workers(self) -> list[psutil.Process]:
        """The processes that train, by rank."""
        found = psutil.Process(self.launcher.pid).children(recursive=True)
        return sorted((each for each in found if "RANK" in each.environ()), key=lambda each: each.environ()["RANK"])

    def end(self) -> str:
        """Wait for the launcher; what was printed."""
        self.launcher.wait(240)
        return self.log.read_text()


Start = Callable[..., Launch]


def kill_one(launch: Launch) -> None:
    launch.workers()[1].kill()


def kill_launcher(launch: Launch) -> None:
    launch.launcher.kill()


def ctrl_c(launch: Launch) -> None:
    os.killpg(launch.launcher.pid, signal.SIGINT)  # as a terminal does
