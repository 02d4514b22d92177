"""`longrun api` and `longrun worker`: the two roles of the service, each a process of its own."""

from __future__ import annotations

import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from longrun.cli.options import App, Concurrency, Data, Device, Host, Port, Processes, Queues
from longrun.cli.show import say
from longrun.cli.supervisor import WRONG_START
from longrun.errors import LongrunError

_GRACEFUL = 3  # seconds for open requests; event streams are cut then, and their readers resume elsewhere


def api(
    app: App = None,
    host: Host = None,
    port: Port = None,
    data: Data = None,
    fd: Annotated[int | None, typer.Option(hidden=True, help="Listen on this inherited socket.")] = None,
) -> None:
    """Run the HTTP API alone; any number of them can share a store.

    Needs LONGRUN_REDIS_URL, or a `longrun serve` that runs with the same --data.
    """
    with _start_errors(app):
        from longrun.cli.listen import listen
        from longrun.observe.logs import configure_logging
        from longrun.settings import load_settings
        from longrun.wiring import create_app, find_store_url

        settings = load_settings(app=app, host=host, port=port, data=data)
        configure_logging(settings.log_level)
        find_store_url(settings)
        asgi = create_app(settings.app or None, settings=settings)
        sock = socket.socket(fileno=fd) if fd is not None else listen(settings.host, settings.port)
    _run_uvicorn(asgi, sock)


def _run_uvicorn(asgi: Any, sock: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(
        asgi,
        log_config=None,  # ours is set
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=_GRACEFUL,
        h11_max_incomplete_event_size=64 * 1024,
    )
    server = uvicorn.Server(config)
    # When it has shut down in order, uvicorn raises the signal again; that is a good end, not a death.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server.run(sockets=[sock])
    if not server.started:
        raise typer.Exit(1)


def worker(
    app: App = None,
    *,
    processes: Processes = None,
    concurrency: Concurrency = None,
    queues: Queues = None,
    device: Device = None,
    data: Data = None,
    name: Annotated[str | None, typer.Option(help="Name of the worker, unique among those alive.")] = None,
    events: Annotated[bool | None, typer.Option("--events", "-E", help="Send Celery task events, for Flower.")] = None,
) -> None:
    """Run a worker alone; any number of them can share a store.

    Needs LONGRUN_REDIS_URL, or a `longrun serve` that runs with the same --data.
    """
    with _start_errors(app):
        from longrun.observe.logs import configure_logging
        from longrun.settings import load_settings
        from longrun.wiring import run_worker

        settings = load_settings(
            app=app, processes=processes, concurrency=concurrency, queues=queues, device=device, data=data, events=events
        )
        configure_logging(settings.log_level)
    with _start_errors(settings.app):
        status = run_worker(settings, name=name)
    raise typer.Exit(status)


@contextmanager
def _start_errors(target: str | None) -> Iterator[None]:
    """A start that cannot go better the next time ends with status 2; code of the user's is shown with its traceback."""
    try:
        yield
    except (LongrunError, typer.Exit):
        raise
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        say(f"error: {target or 'the application'} cannot be served: {type(error).__name__}: {error}")
        raise typer.Exit(WRONG_START) from None
