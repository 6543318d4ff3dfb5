"""Start the server: find the models, listen, load, serve until interrupted. What cannot work is told before loading."""

import contextlib
from collections.abc import Sequence

import uvicorn
from rich.console import Console

from labeling_ui.people.accounts import Accounts
from labeling_ui.people.api_keys import keys
from labeling_ui.people.signing_secret import secret_beside_file, secret_in_database
from labeling_ui.web.proxy.addresses import address_elsewhere, address_here
from labeling_ui.web.proxy.patience import TimedProtocol
from labeling_ui.web.server import invite_admin, listen
from pipeline.config.config import Config
from pipeline.runs.folder import Run
from pipeline.runs.label_store import label_store, location
from pipeline.serving.models import check_adapters, load, models_of, named_models, sources_of


def serve(run: Run, config: Config, console: Console, *, named: bool = False, adapters: Sequence[str] = ()) -> None:
    """Serve the models of the run; `named`: the configured base instead, with `adapters` as in `name=folder`.

    People and keys are those of the run's label store, and votes go there.
    """
    folders = named_models(adapters) if named else models_of(run, config)
    check_adapters(folders, config.model)
    settings = config.serve
    with contextlib.closing(listen(settings.host, settings.port)) as listener, label_store(run, config) as store:
        console.print(f"serve: loading {config.model} with {', '.join(folders)} ...", markup=False, highlight=False)
        base, names = load(folders, config)
        from pipeline.serving.app import build_app
        from pipeline.serving.engine import Engine
        from pipeline.serving.served import Served
        from pipeline.serving.side_by_side import side_by_side

        engine = Engine(base, at_once=settings.at_once, waiting=settings.waiting, of_one=settings.of_one)
        try:
            at = location(run, config)
            secret = secret_beside_file(at) or secret_in_database(store.database)
            served, sampling = Served.of(engine, names, settings), config.collect.sampling
            app = build_app(store, secret, served, sources_of(folders, config), side_by_side(served, sampling))
            place = settings.host, listener.getsockname()[1]
            address, elsewhere = address_here(*place), address_elsewhere(*place)
            print(f"Chat at {address}, OpenAI's interface at {address}/v1 (stop with Ctrl+C)", flush=True)
            if elsewhere:
                print(f"From other machines: {elsewhere}, {elsewhere}/v1", flush=True)
            if not keys(store.database):
                print(f"Nobody has a key yet: `rlhf keys add NAME --run {run.argument}` makes one.", flush=True)
            invite_admin(Accounts(store.database), address)
            options = uvicorn.Config(
                app, http=TimedProtocol, log_level="warning", timeout_graceful_shutdown=2, server_header=False
            )
            with contextlib.suppress(KeyboardInterrupt):
                uvicorn.Server(options).run(sockets=[listener])
        finally:
            engine.close()
