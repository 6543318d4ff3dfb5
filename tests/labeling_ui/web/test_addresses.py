"""An address that is told can be opened; one to listen on alone is never told."""

import socket

import pytest

from labeling_ui.web.proxy.addresses import address_elsewhere, address_here, is_loopback
from pipeline.config.config import LabelConfig


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:80/labels"),
        ("0.0.0.0", "http://127.0.0.1:80/labels"),
        ("::", "http://[::1]:80/labels"),
        ("", "http://127.0.0.1:80/labels"),
        ("10.0.0.5", "http://10.0.0.5:80/labels"),
    ],
)
def test_the_address_on_this_machine(host: str, address: str) -> None:
    assert address_here(host, 80, "/labels") == address


def test_the_address_for_others_is_the_one_by_which_this_machine_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: None)
    monkeypatch.setattr(socket.socket, "getsockname", lambda _: ("10.0.0.5", 1234))
    assert address_elsewhere("0.0.0.0", 80) == "http://10.0.0.5:80"
    assert address_elsewhere("127.0.0.1", 80) is None
    assert LabelConfig(host="0.0.0.0", port=80).served_at == "http://10.0.0.5:80"


def test_a_machine_without_a_network_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", unreachable)
    assert address_elsewhere("0.0.0.0", 80) is None
    assert LabelConfig(host="0.0.0.0", port=80).served_at == "http://127.0.0.1:80"


def test_who_is_reached_by_this_machine_alone() -> None:
    assert [is_loopback(host) for host in ("localhost", "127.1.2.3", "::1", "10.0.0.5")] == [True, True, True, False]
