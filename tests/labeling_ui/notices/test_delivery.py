"""Notices reach real servers once, whatever is killed meanwhile; and a service that misbehaves holds up nobody."""

import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from labeling_ui.notices import sending, watch
from labeling_ui.notices.keeping import PAUSES, Delivered, begin, latest
from labeling_ui.notices.settings import NoticeSettings
from labeling_ui.notices.watch import NoticeWatch
from labeling_ui.store.store import Store
from tests.labeling_ui.filling import Clock, fill
from tests.labeling_ui.notices.receiving import Webhook, mail_server

pytest.importorskip("apprise", reason="the extra 'notices' is not installed")

NOBODY = "json://lead:s3cret-word@127.0.0.1:9/hook"  # the port of discard, which nobody has open
SERVER = """
import sys
from labeling_ui.notices import sending
from labeling_ui.notices.settings import NoticeSettings
from labeling_ui.notices.watch import NoticeWatch
from labeling_ui.store.store import Store
sending.SECONDS = 120
NoticeWatch(Store(sys.argv[1]), NoticeSettings(addresses=(sys.argv[2],)), "secret").send()
"""


@pytest.fixture
def small(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    store = Store(tmp_path / "small.db", clock)
    yield store
    store.close()


def settings(*addresses: str) -> NoticeSettings:
    return NoticeSettings.model_validate({"addresses": addresses})


def watching(store: Store, clock: Clock, *addresses: str) -> NoticeWatch:
    return NoticeWatch(store, settings(*addresses), "secret", clock)


def tell(store: Store, clock: Clock, *addresses: str) -> None:
    given = settings(*addresses)
    fill(store, 1)
    with store.database.write() as connection:
        named = dict(zip(given.keys("secret"), given.named, strict=True))
        assert begin(connection, "main", "done", "1 tasks have all the answers that they need.", named, clock.now)


def deliveries(store: Store) -> list[Delivered]:
    with store.database.read() as connection:
        (notice,) = latest(connection)
    return list(notice.deliveries)


def test_a_webhook_and_a_mail_server_are_told_once_each(small: Store, clock: Clock, hook: Webhook) -> None:
    with mail_server() as (mailbox, mails):
        tell(small, clock, hook.address, mailbox)
        for _ in range(2):  # the second time, and after a restart, there is nothing to send
            watching(small, clock, hook.address, mailbox).send()
            clock.now += 2 * PAUSES[0]
    (body,) = hook.received
    assert body["title"] == 'The campaign "main" is done'
    assert body["message"] == "1 tasks have all the answers that they need."
    (mail,) = mails
    assert 'Subject: The campaign "main" is done' in mail
    assert [(each.named, each.state) for each in deliveries(small)] == [
        ("address 1 (json)", "sent"), ("address 2 (mailto)", "sent"),
    ]  # fmt: skip


def test_two_servers_on_one_database_send_nothing_twice(store_url: str, clock: Clock, hook: Webhook) -> None:
    stores = [Store(store_url, clock), Store(store_url, clock)]
    tell(stores[0], clock, hook.address)
    hook.go.clear()
    threads = [threading.Thread(target=watching(each, clock, hook.address).send) for each in stores]
    for each in threads:
        each.start()
    assert hook.asked.wait(120)
    hook.go.set()
    for each in threads:
        each.join()
    assert len(hook.received) == 1
    for each in stores:
        each.close()


def test_a_server_that_is_killed_while_it_sends_has_sent_once(store: Store, store_url: str, hook: Webhook) -> None:
    now = Clock()
    now.now = time.time()
    tell(store, now, hook.address)
    hook.go.clear()
    server = subprocess.Popen([sys.executable, "-c", SERVER, store_url, hook.address])
    assert hook.asked.wait(120)
    server.send_signal(signal.SIGKILL)
    server.wait()
    hook.go.set()
    ends = time.monotonic() + 120
    while deliveries(store)[0].state != "sent" and time.monotonic() < ends:  # the sender lives on, and says so
        time.sleep(0.05)
    now.now += sum(PAUSES)
    watching(store, now, hook.address).send()
    assert [each.state for each in deliveries(store)] == ["sent"]
    assert len(hook.received) == 1


def test_what_fails_is_tried_again_and_told_without_its_address(
    small: Store, clock: Clock, hook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    tell(small, clock, hook.address, NOBODY)
    hook.status = 500
    watcher = watching(small, clock, hook.address, NOBODY)
    watcher.send()
    assert deliveries(small) == [
        Delivered("address 1 (json)", "waiting", 1, "it answered 500"),
        Delivered("address 2 (json)", "waiting", 1, "it could not be reached, or did not answer"),
    ]
    watcher.send()
    assert len(hook.received) == 1, "not before its time"
    hook.status = 200
    clock.now += PAUSES[0]
    watcher.send()
    assert [(each.state, each.attempts) for each in deliveries(small)] == [("sent", 2), ("waiting", 2)]
    assert "to address 1 (json) was not sent: it answered 500. It is tried again in 1 minutes." in caplog.text
    assert "s3cret" not in caplog.text
    assert "127.0.0.1" not in caplog.text


def test_what_fails_again_and_again_is_given_up(
    small: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(asked: object) -> str:
        attempts.append(clock.now)
        return "it answered 500"

    attempts: list[float] = []
    monkeypatch.setattr(sending, "_in_a_process", refuse)
    tell(small, clock, NOBODY)
    for _ in range(400):
        watching(small, clock, NOBODY).send()
        clock.now += 60
    assert [later - earlier for earlier, later in pairwise(attempts)] == list(PAUSES[:-1])
    assert deliveries(small) == [Delivered("address 1 (json)", "given up", len(PAUSES), "it answered 500")]
    assert caplog.records[-1].levelno == logging.ERROR
    assert "was given up after 5 attempts: it answered 500" in caplog.text


def test_a_service_that_never_ends_its_answer_is_left(
    small: Store, clock: Clock, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SECONDS", 3)
    hook.drips = True
    tell(small, clock, hook.address)
    watching(small, clock, hook.address).send()
    assert deliveries(small)[0].problem == "it did not answer in time"


def test_a_sender_ends_by_itself_when_its_server_is_gone(hook: Webhook) -> None:
    hook.drips = True
    asked = json.dumps([2, hook.address, "title", "text"])
    command = [sys.executable, "-m", "labeling_ui.notices.posting"]
    assert subprocess.run(command, input=asked, text=True, timeout=120).returncode == -signal.SIGALRM


def test_a_watch_beside_a_server_sends_by_itself(
    small: Store, clock: Clock, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(small, clock, hook.address)
    with watch.watching(small, settings(hook.address), "secret", seconds=0.05):
        assert hook.asked.wait(120)
