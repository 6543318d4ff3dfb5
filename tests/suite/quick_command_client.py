"""What a shell calls in place of `rlhf` (`quick_command.py`). It imports little: it has to be quick."""

import json
import os
import signal
import socket
import sys

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until it is known whom to hand it on to
with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    socket.send_fds(server, [b"\0"], [0, 1, 2])
    server.sendall((json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ)]) + "\n").encode())
    said = server.makefile()
    command = int(said.readline())
    signal.signal(signal.SIGINT, lambda number, frame: os.kill(command, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    status = int(said.readline())
sys.exit(status if status >= 0 else 128 - status)
