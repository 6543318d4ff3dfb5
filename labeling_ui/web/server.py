"""Start the labeling app: refuse what cannot be served, listen, say where, load the app, serve until interrupted.

The first start needs no set-up: while the store has no admin, `serve` prints a link that makes whoever opens it first
the admin. The app itself is in `app.py`. With Gradio it takes seconds to load, so the address is told before: a browser
that opens it then is connected, and gets its page when all is loaded.

    serve("runs/mine/labels.db", port=7860)
"""

import contextlib
import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from foundation.errors import UserError
from labeling_ui.notices.keeping import latest
from labeling_ui.notices.sending import check_addresses
from labeling_ui.notices.settings import NoticeSettings
from labeling_ui.notices.watch import watching
from labeling_ui.people.accounts import Accounts
from labeling_ui.people.signing_secret import secret_beside_file, secret_in_database
from labeling_ui.quality.skill_keeping import keeping_skills
from labeling_ui.store.store import Store
from labeling_ui.web.proxy.addresses import address_elsewhere, address_here

if TYPE_CHECKING:
    from uvicorn import Server

    from labeling_ui.web.live_prompts import Generate

FIRST_LINK_HOURS = 24.0


def serve(
    store_url: str | Path, host: str = "127.0.0.1", port: int = 7860, generate: "Generate | None" = None,
    root_path: str = "", notices: NoticeSettings | None = None,
) -> None:  # fmt: skip
    """Serve until interrupted, under a `root_path` as for `build_app`. `port` 0 takes any free one.

    Raises `UserError`, before anybody is told an address, if the store holds nothing to label, the port is taken or
    notices cannot be sent.
    """
    notices = notices or NoticeSettings()
    if notices.addresses:
        check_addresses(notices)
    store = Store(store_url)
    try:
        with contextlib.closing(listen(host, port)) as listener:
            _refuse_empty(store, live=generate is not None)
            secret = secret_beside_file(store_url) or secret_in_database(store.database)
            place = host, listener.getsockname()[1], root_path
            print(f"Label at {address_here(*place)} (stop with Ctrl+C)", flush=True)
            if elsewhere := address_elsewhere(*place):
                print(f"From other machines: {elsewhere}", flush=True)
            run = f" --run {Path(store_url).parent}" if isinstance(store_url, Path) else ""
            for notice in unasked(store, live=generate is not None, run=run):
                print(notice, flush=True)
            invite_admin(Accounts(store.database), address_here(*place))
            if told := who_is_told(store, notices):
                print(told, flush=True)
            server = _loaded(store, secret, generate, root_path)
            with keeping_skills(store), watching(store, notices, secret), contextlib.suppress(KeyboardInterrupt):
                server.run(sockets=[listener])
    finally:
        store.close()


def _loaded(store: Store, secret: str, generate: "Generate | None", root_path: str) -> "Server":
    """The server with its app. While they load, the listening socket takes connections and keeps them waiting."""
    import uvicorn

    from labeling_ui.web.app import build_app
    from labeling_ui.web.proxy.patience import TimedProtocol

    app = build_app(store, secret, generate, root_path)
    config = uvicorn.Config(
        app, http=TimedProtocol, log_level="warning", timeout_graceful_shutdown=2, server_header=False
    )
    return uvicorn.Server(config)


def _refuse_empty(store: Store, live: bool) -> None:
    if not store.tasks_by_campaign() and not live:
        raise UserError(
            "there is nothing to label: the database holds no responses to judge. "
            "Collect responses first (`rlhf collect`), or bring existing ones (`rlhf import --format FORMAT FILE`)."
        )


def invite_admin(accounts: Accounts, address: str) -> None:
    """Print a link that makes whoever opens it first the admin, if there is none."""
    if not accounts.has_admin():
        token = accounts.invite("admin", hours=FIRST_LINK_HOURS)
        print(f"Nobody can administer this store yet. Open this link once, within a day, to become its admin:\n"
              f"{address}/invitation/{token}", flush=True)  # fmt: skip


def who_is_told(store: Store, notices: NoticeSettings) -> str | None:
    """Where notices go; or that they go nowhere, where they were set up or went somewhere before."""
    if notices.addresses:
        return f"Notices go to {', '.join(notices.named)}."
    with store.database.read() as connection:
        before = latest(connection, count=1)
    if not before and notices.stall_hours == NoticeSettings().stall_hours:
        return None
    return "Nobody gets notices: label.notices.addresses is empty. A run does not keep it, so give it at each start."


def unasked(store: Store, live: bool, run: str = "") -> Iterator[str]:
    """A sentence for each campaign in which nobody is asked anything; `live`: people may type prompts.

    `run` is the option by which commands name the store's run, if it is known.
    """
    for campaign in store.campaigns_without_tasks():
        if not (live and campaign.live):
            same = f"--set label.kind={campaign.kind} --set label.name={campaign.name}{run}"
            yield (
                f'The campaign "{campaign.name}" ({campaign.kind}) has no tasks: nobody is asked anything in it. '
                f"Add some by `rlhf collect {same}` or `rlhf import --format FORMAT FILE {same}`."
            )


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections; `UserError` if the port is taken. `port` 0 takes any free one."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, OverflowError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        reason = "another program is using it" if taken else error
        raise UserError(
            f"cannot serve on {host}, port {port}: {reason}. Choose another with --host or --port."
        ) from error
