"""A reader at a terminal, in a folder like a fresh clone: types what a page shows, line by line, into a real shell.

What one line changes for the next stays: the folder, the variables, an activated `.venv`. Left out is installing: the
clone's `.venv` is the one that runs the tests.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.suite import quick_command
from tests.test_documentation import ROOT

SECONDS = 240  # that a line may take
# What `make test` and pytest hand down, and a reader's shell has not. Where Python may not keep compiled modules, each
# start takes three times as long.
_INHERITED = re.compile(r"MAKE|MFLAGS|RLHF_|PYTEST|PYTHONDONTWRITEBYTECODE$|(RUN|CONFIG|ARGS|PYTHON|WORKERS)$")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")


@dataclass(frozen=True)
class Shown:
    """A line of shell, or a block in another language, as it stands on a page."""

    language: str
    text: str

    @property
    def name(self) -> str:
        """A line without its comment, its continuation lines joined."""
        return re.sub(r"\s+", " ", re.sub(r"\s+# .*$", "", self.text).replace("\\\n", " ")).strip()


@dataclass(frozen=True)
class Done:
    """What became of a line: its exit status, what it printed, and the files that are new or were changed."""

    status: int
    seconds: float
    output: str
    left: list[str]


def shown_on(page: Path) -> list[Shown]:
    """All that the page shows, in its order: lines of `sh` blocks, other blocks, and code within sentences (`span`)."""
    text, found, end = page.read_text(encoding="utf-8"), [], 0
    for fence in _FENCE.finditer(text):
        found += [Shown("span", " ".join(span.split())) for span in _SPAN.findall(text[end : fence.start()])]
        language, block = fence.groups()
        lines = re.split(r"(?<!\\)\n", block) if language == "sh" else [block]
        found += [Shown(language, line) for line in lines if line.strip() and not line.startswith("# ")]
        end = fence.end()
    return found + [Shown("span", " ".join(span.split())) for span in _SPAN.findall(text[end:])]


def clone(folder: Path) -> Path:
    """What git keeps of the project, linked into a new folder, with a `.venv` in which everything is installed."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    folder.mkdir(parents=True)
    for name in {line.partition("/")[0] for line in tracked.splitlines()}:
        (folder / name).symlink_to(ROOT / name)
    environment = folder / ".venv"
    environment.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (environment / name).symlink_to(Path(sys.prefix, name))
    for mark in ("installed", "installed-dev"):
        (environment / mark).touch()
    return folder


class Terminal:
    """A shell in `folder`; `settings` are fields of the configuration, given in the environment."""

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        self.folder = folder
        self._state = folder.with_name(f"{folder.name}.state")
        self.port = _free_port()
        given = {f"RLHF_{field.upper().replace('.', '__')}": str(value) for field, value in settings.items()}
        kept = {name: value for name, value in os.environ.items() if not _INHERITED.match(name)}
        venv = str(Path(sys.prefix, "bin"))
        path = os.pathsep.join(each for each in kept["PATH"].split(os.pathsep) if each != venv)
        self._environment = kept | given | {
            "PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true",
            "RLHF_LABEL__PORT": str(self.port), "RLHF_SERVE__PORT": str(self.port),
        }  # fmt: skip
        self._state.write_text("")

    def type(self, line: str, answers: str = "", serves: bool = False, quick: bool = False) -> Done:
        """Run the line to its end; a line that `serves` is stopped with Ctrl-C as soon as its port answers.

        If `quick`, `rlhf` is a process that has the libraries loaded (`tests/suite/quick_command.py`).
        """
        # Each line has a shell of its own, which takes up what the last one left: `exit` and Ctrl-C end that alone.
        keep = f'{{ declare -px; echo "cd \'$PWD\'"; }} > "{self._state}"'
        script = f'. "{self._state}"\n{_quick_rlhf() if quick else ""}{line}\nstatus=$?\n{keep}\nexit $status'
        before, log, start = self._files(), self._state.with_suffix(".log"), time.monotonic()
        with log.open("w") as output:
            shell = subprocess.Popen(
                ["bash", "-c", script], cwd=self.folder, env=self._environment, stdin=subprocess.PIPE, stdout=output,
                stderr=output, text=True, start_new_session=True, preexec_fn=_listen_to_ctrl_c,
            )  # fmt: skip
            try:
                if serves and _answers(f"http://127.0.0.1:{self.port}/sign-in", shell):
                    os.killpg(shell.pid, signal.SIGINT)
                shell.communicate(answers, timeout=SECONDS)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(shell.pid, signal.SIGKILL)
        seconds, after = time.monotonic() - start, self._files()
        left = sorted(file for file, state in after.items() if before.get(file) != state)
        return Done(shell.returncode, seconds, log.read_text(errors="replace"), left)

    def _files(self) -> dict[str, tuple[int, int]]:
        """Everything in the folder that is no link, as it is now."""
        return {str(path.relative_to(self.folder)): state for path, state in _walk(self.folder)}


def _quick_rlhf() -> str:
    """A function of the shell."""
    return f'rlhf() {{ "{sys.executable}" -I -S {quick_command.CLIENT} {quick_command.address()} "$@"; }}\n'


def _walk(folder: Path) -> Iterator[tuple[Path, tuple[int, int]]]:
    for entry in os.scandir(folder):
        if entry.is_symlink() or entry.name == ".venv":
            continue
        if entry.is_dir():
            yield from _walk(Path(entry))
        else:
            state = entry.stat()
            yield Path(entry), (state.st_mtime_ns, state.st_ino)


def outside(folder: Path, code: str) -> Done:
    """Run Python in `folder` with what is installed beside the project, but not the project itself.

    A cache of the hub in `folder / "cache"` stands in for the hub.
    """
    # Without `site`, no .pth file leads to the project.
    head = f"import sys; sys.path.append({str(Path(sys.prefix, _site_packages()))!r})\n"
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", "-W", "ignore::FutureWarning", "-c", head + code], cwd=folder,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "cache")}, capture_output=True, text=True,
        check=False, timeout=SECONDS,
    )  # fmt: skip
    return Done(done.returncode, time.monotonic() - start, done.stdout + done.stderr, [])


def _site_packages() -> str:
    return f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _answers(url: str, process: subprocess.Popen[str]) -> bool:
    """Wait until a server answers at `url`, if only that nothing is there; False where the process ended before."""
    for _ in range(SECONDS * 5):
        try:
            with urllib.request.urlopen(url, timeout=30):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            pass
        if process.poll() is not None:
            return False
        time.sleep(0.2)
    return False


def _listen_to_ctrl_c() -> None:
    """What starts the tests may have it ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def copy(source: Path, target: Path) -> None:
    """Put a copy of the folder there, whatever was there before."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
