"""Sends a notice to an address in a process of its own (`posting.py`), which is ended after some seconds.

So no service can hold anything up, however it behaves, and apprise is loaded only when there is something to send.
"""

import json
import signal
import subprocess
import sys

from foundation.errors import UserError
from labeling_ui.notices.keeping import Delivery, settle, title
from labeling_ui.notices.posting import Asked, silence
from labeling_ui.notices.settings import NoticeSettings
from labeling_ui.store.store import Store

SECONDS = 15
"""An attempt is given up after so many; starting the process counts."""
_GRACE = 5
_LATE = "it did not answer in time"


def deliver(store: Store, address: str, what: Delivery) -> str:
    """Send a notice to an address, and write down how that ended; returns what went wrong, empty if it was taken."""
    url = store.database.engine.url.render_as_string(hide_password=False)
    said = title(what.kind, what.campaign)
    problem = _in_a_process(Asked(SECONDS, address, said, what.text, url, what.notice, what.address))
    if problem:
        with store.database.write() as connection:
            settle(connection, what.notice, what.address, None, problem)
    return problem


def send_test(settings: NoticeSettings) -> list[str]:
    """Send every address a notice that says it is a test; returns what went wrong with each, empty if it was taken."""
    check_addresses(settings)
    said = "Test of label.notices", "This is a test: notices about campaigns will reach you here."
    return [_in_a_process(Asked(SECONDS, each.get_secret_value(), *said)) for each in settings.addresses]


def check_addresses(settings: NoticeSettings) -> None:
    """Raise `UserError` if apprise is not installed, does not know an address, or there is none."""
    if not settings.addresses:
        raise UserError(
            "label.notices.addresses has no address. Give some in a --config file, or in the environment: "
            "RLHF_LABEL__NOTICES__ADDRESSES='mailto://... jsons://...'. A run does not keep them."
        )
    try:
        import apprise
    except ModuleNotFoundError as error:
        raise UserError("label.notices needs apprise, which is not installed: pip install -e '.[notices]'") from error
    silence()
    for named, each in zip(settings.named, settings.addresses, strict=True):
        if apprise.Apprise.instantiate(each.get_secret_value()) is None:
            raise UserError(
                f"label.notices.addresses: apprise cannot use {named}. Write it as https://appriseit.com/services/ "
                "says, with everything that this service needs. The address itself is not shown here."
            )


def _in_a_process(asked: Asked) -> str:
    command = [sys.executable, "-m", "labeling_ui.notices.posting"]
    try:
        wait = asked.seconds + _GRACE
        done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=wait)
    except subprocess.TimeoutExpired:
        return _LATE
    if done.returncode == -signal.SIGALRM:
        return _LATE
    return done.stdout.strip() if done.returncode == 0 else "sending failed"
