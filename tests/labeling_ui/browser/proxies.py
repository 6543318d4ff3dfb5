"""Real proxies with TLS in front of a real server, set up as `deploy/` says, on ports of their own."""

import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[3]
SERVE = "import sys; from labeling_ui.web.server import serve; serve(sys.argv[1], port=0, root_path=sys.argv[2])"
NGINX, CADDY, OPENSSL = (
    shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in ("nginx", "caddy", "openssl")
)
Change = Callable[[str], str]


@contextmanager
def served(database: Path, root_path: str, log: Path) -> Iterator[int]:
    """The app in a process of its own, loaded, and its port; what it logs goes to `log`."""
    command = [sys.executable, "-c", SERVE, str(database), root_path]
    with (
        log.open("w") as errors,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True) as server,
    ):
        try:
            assert server.stdout
            found = re.search(r"http://127\.0\.0\.1:(\d+)(\S*) ", server.stdout.readline())
            assert found, log.read_text()
            assert found[2] == root_path
            urllib.request.urlopen(f"{found[0].strip()}/sign-in", timeout=120).close()
            yield int(found[1])
        finally:
            server.terminate()


@contextmanager
def nginx(folder: Path, app: int, change: Change = str) -> Iterator[str]:
    """The address of nginx in front of port `app`, by `deploy/nginx.conf` after `change`."""
    folder.mkdir()
    port, name = free_port(), "/etc/ssl/label.example.org"
    subprocess.run(
        [str(OPENSSL), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-keyout", "tls.key", "-out", "tls.pem"], cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    text = change((ROOT / "deploy" / "nginx.conf").read_text())
    for old, new in ((f"{name}.pem", f"{folder}/tls.pem"), (f"{name}.key", f"{folder}/tls.key"),
                     ("listen 443", f"listen 127.0.0.1:{port}"), ("127.0.0.1:7860", f"127.0.0.1:{app}")):  # fmt: skip
        assert old in text
        text = text.replace(old, new)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"pid {folder}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{text}}}\n"
    )
    command = [str(NGINX), "-p", str(folder), "-c", f"{folder}/nginx.conf", "-e", f"{folder}/errors",
               "-g", "daemon off; master_process off;"]  # fmt: skip
    with _running(command, folder, f"https://localhost:{port}"):
        yield f"https://localhost:{port}"


@contextmanager
def caddy(folder: Path, app: int, change: Change = str) -> Iterator[str]:
    """The address of Caddy in front of port `app`, by `deploy/Caddyfile` after `change`, with its own authority."""
    folder.mkdir()
    port = free_port()
    text = change((ROOT / "deploy" / "Caddyfile").read_text())
    for old, new in (
        ("label.example.org {", f"https://localhost:{port} {{\n\ttls internal\n"),
        ("127.0.0.1:7860", f"127.0.0.1:{app}"),
    ):
        assert old in text
        text = text.replace(old, new)
    options = "{\n\tadmin off\n\tskip_install_trust\n\tauto_https disable_redirects\n}\n"
    (folder / "Caddyfile").write_text(options + text)
    command = [str(CADDY), "run", "--config", f"{folder}/Caddyfile", "--adapter", "caddyfile"]
    with _running(command, folder, f"https://localhost:{port}"):
        yield f"https://localhost:{port}"


@contextmanager
def _running(command: list[str], folder: Path, address: str) -> Iterator[None]:
    """The proxy, once it answers."""
    homes = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(folder))
    log = folder / "log"
    with (
        log.open("w") as output,
        subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **homes}) as proxy,
    ):
        try:
            deadline = time.monotonic() + 60
            while not _answers(address):
                assert proxy.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            yield
        finally:
            proxy.terminate()


def _answers(address: str) -> bool:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    try:
        urllib.request.urlopen(address, timeout=5, context=trusting).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
