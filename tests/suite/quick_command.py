"""`rlhf` from a shell, without its loading: a process that has the libraries forks for each command.

The shell calls `CLIENT` in place of `rlhf`, with `address()` and the command's words. Folder, variables, input and
output are those of the client, and so are Ctrl-C and the exit status. Where the client is killed, the command is, too.
"""

import atexit
import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
from functools import cache
from pathlib import Path

from tests.suite.forked import processes

CLIENT = Path(__file__).with_name("quick_command_client.py")


@cache
def address() -> Path:
    """The socket of a server that ends with this process."""
    folder = Path(tempfile.mkdtemp(prefix="rlhf-"))  # the path of a socket is short
    atexit.register(shutil.rmtree, folder)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        listener.listen()
        processes.Process(target=_serve, args=(listener,), daemon=True).start()
    return folder / "socket"


def _serve(listener: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that are forked here
    while True:
        client, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _answer(client)
            return
        client.close()


def _answer(client: socket.socket) -> None:
    """Tell the client the command's process id, and in the end its exit status."""
    _, streams, _, _ = socket.recv_fds(client, 1, 3)
    words, folder, variables = json.loads(client.makefile().readline())
    command = os.fork()
    if command == 0:
        client.close()
        _run(words, folder, variables, streams)
        return
    for stream in streams:
        os.close(stream)
    client.sendall(f"{command}\n".encode())
    ended = os.pidfd_open(command)
    ready, _, _ = select.select([ended, client.fileno()], [], [])
    if ended not in ready:
        os.kill(command, signal.SIGKILL)
    _, status = os.waitpid(command, 0)
    client.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _run(words: list[str], folder: str, variables: dict[str, str], streams: list[int]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["rlhf", *words]
    from pipeline.__main__ import main

    main()
