"""The process that `runner.py` starts: it confines itself, then runs code that a model wrote.

Started as a script with nothing but the standard library; reads its job as JSON from standard input. Limits on
resources always hold. Other limits hold if the kernel grants them: a network and a process tree of
its own, files in the current folder only (Landlock), another user if it was started as root.
"""

import ctypes
import json
import os
import resource
import signal
import struct
import sys

_NEW_USER, _NEW_PIDS, _NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000
_NO_NEW_PRIVILEGES = 38
_RULESET, _ADD_RULE, _RESTRICT = 444, 445, 446
_NOBODY = 65534
# Landlock's rights of ABI 1: execute, write, read a file, read a folder, then all that changes a folder.
_ALL_RIGHTS, _READ = (1 << 13) - 1, 1 | 1 << 2 | 1 << 3

libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Confine, fork, let the child run the job and end it when its time is up."""
    job = json.load(sys.stdin)
    _become_nobody()
    libc.unshare(_NEW_USER | _NEW_PIDS | _NEW_NETWORK)
    child = os.fork()
    if child == 0:
        _limit_files(os.getcwd())
        _limit_resources(job)
        _run(job)
        sys.stdout.flush()
        os._exit(0)
    # The first process of its tree: when it is killed, the kernel kills all that it started.
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, job["seconds"])
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _run(job: dict) -> None:  # type: ignore[type-arg]
    """Execute the code, then each test in its namespace; a line with the secret says that a test passed."""
    namespace = {"__name__": "solution"}
    try:
        exec(compile(job["code"], "<response>", "exec"), namespace)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        return
    for number, test in enumerate(job["tests"]):
        try:
            exec(compile(test, f"<test {number}>", "exec"), namespace)
        except BaseException as error:
            print(f"test {number}: {type(error).__name__}: {error}", flush=True)
        else:
            os.write(job["results"], f"{job['secret']} {number}\n".encode())


def _limit_resources(job: dict) -> None:  # type: ignore[type-arg]
    limits = {
        resource.RLIMIT_CPU: max(1, int(job["seconds"] + 1)),
        resource.RLIMIT_AS: job["memory_mb"] << 20,
        resource.RLIMIT_FSIZE: job["file_mb"] << 20,
        resource.RLIMIT_NPROC: job["processes"] + 1,  # and the one that waits
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
    }
    for which, most in limits.items():
        resource.setrlimit(which, (most, most))


def _become_nobody() -> None:
    """Root's processes are not limited in number: be nobody, in name only where nobody cannot read Python's library."""
    if os.geteuid() != 0:
        return
    path, readable = os.path.realpath(os.__file__), True
    while path != "/":
        readable &= bool(os.stat(path).st_mode & (0o001 if os.path.isdir(path) else 0o004))
        path = os.path.dirname(path)
    if readable:
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    else:
        os.setreuid(_NOBODY, -1)


def _limit_files(folder: str) -> None:
    """Allow reading Python and the system's libraries, and everything in `folder`; nothing else (Landlock)."""
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    handled = struct.pack("Q", _ALL_RIGHTS)
    ruleset = libc.syscall(_RULESET, handled, len(handled), 0)
    if ruleset < 0:
        return
    readable = {sys.prefix, sys.base_prefix, "/usr", "/lib", "/lib64", "/dev/urandom", "/dev/null", "/proc/self"}
    for path, rights in [*((path, _READ) for path in readable), (folder, _ALL_RIGHTS)]:
        try:
            place = os.open(path, os.O_PATH)
        except OSError:
            continue
        if not os.path.isdir(path):
            rights &= 1 << 1 | 1 << 2
        libc.syscall(_ADD_RULE, ruleset, 1, struct.pack("=Qi", rights, place), 0)
        os.close(place)
    libc.syscall(_RESTRICT, ruleset, 0)
    os.close(ruleset)


if __name__ == "__main__":
    main()
