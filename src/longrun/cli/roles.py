"""`longrun api` and `longrun worker`: the two roles of the service, each a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from longrun.cli.ending import bound_end, in_time
from longrun.cli.options import ApiProcesses, App, Concurrency, Data, Device, Host, Port, Processes, Queues, Rehearse
from longrun.cli.show import say
from longrun.cli.supervisor import WRONG_START
from longrun.errors import LongrunError, needs_extra
from longrun.observe.output import take_over, take_over_descriptors
from longrun.start import is_folder_gone

if TYPE_CHECKING:
    from longrun.settings import Settings
_ANSWERS = 3.0  # seconds at least for answers that have begun


@in_time()
def api(
    app: App = None,
    *,
    host: Host = None,
    port: Port = None,
    data: Data = None,
    api_processes: ApiProcesses = None,
    fd: Annotated[int | None, typer.Option(hidden=True, help="Listen on this inherited socket.")] = None,
    beside: Annotated[str, typer.Option(hidden=True, help="Inherited sockets of the other API processes, comma-separated.")] = "",
    ready_fd: Annotated[int | None, typer.Option(hidden=True, help="Write the name here once requests are answered.")] = None,
    name: Annotated[str, typer.Option(hidden=True, help="Which of several API processes this one is.")] = "",
) -> None:
    """Run the HTTP API alone; any number of them can share a store.

    Needs LONGRUN_REDIS_URL, or a `longrun serve` that runs with the same --data.
    """
    take_over("stdout", "stderr")
    take_over_descriptors()
    _exit_on_sigterm()
    with _start_errors(app):
        from longrun.api.server import ApiServer
        from longrun.cli.apis import report_ready, supervise_apis
        from longrun.cli.listen import listen
        from longrun.observe.logs import configure_logging
        from longrun.settings import load_settings
        from longrun.wiring import create_api, find_store_url

        settings = load_settings(app=app, host=host, port=port, data=data, api_processes=api_processes)
        answers = max(_ANSWERS, settings.grace)
        if settings.api_processes > 1 and fd is None:
            raise typer.Exit(supervise_apis(settings, answers))
        configure_logging(settings.log_level, process=name if settings.api_processes > 1 else "")
        url = find_store_url(settings)
        _refuse_unsafe(settings, url)
        wrong = WrongStart()
        asgi = create_api(settings, url, wrong.end)
        sock = socket.socket(fileno=fd) if fd is not None else listen(settings.host, settings.port)
        others = [socket.socket(fileno=int(each)) for each in beside.split(",") if each]
    on_ready = None if ready_fd is None else lambda: report_ready(ready_fd, name)
    server = ApiServer(
        asgi, drain=settings.drain, patience=answers, beside=others, on_ready=on_ready, on_stopped=lambda: bound_end(wrong.status)
    )
    server.run(sockets=[sock])
    if not server.started:
        raise typer.Exit(1)
    wrong.leave()


class _Asked(SystemExit):
    """Asked to stop while it starts; not to be taken for an exit of the author's code, which may be imported at that moment."""


def _exit_on_sigterm() -> None:
    """Until something runs that has to be stopped in order, SIGTERM is a normal exit."""

    def leave(*_: object) -> None:
        raise _Asked(0)

    signal.signal(signal.SIGTERM, leave)


@in_time()
def worker(
    app: App = None,
    *,
    processes: Processes = None,
    concurrency: Concurrency = None,
    queues: Queues = None,
    device: Device = None,
    data: Data = None,
    name: Annotated[str | None, typer.Option(help="Name of the worker, which no other running worker may have.")] = None,
    rehearse: Rehearse = None,
    events: Annotated[bool | None, typer.Option("--events", "-E", help="Send Celery task events, for Flower.")] = None,
    identity: Annotated[str | None, typer.Option(hidden=True, help="By which the one that starts it reports its death.")] = None,
) -> None:
    """Run a worker alone; any number of them can share a store.

    Needs LONGRUN_REDIS_URL, or a `longrun serve` that runs with the same --data.
    """
    take_over("stdout", "stderr")
    take_over_descriptors()
    _exit_on_sigterm()
    with _start_errors(app):
        from longrun.observe.logs import configure_logging
        from longrun.settings import LOOPBACK, load_settings
        from longrun.wiring import find_store_url, run_worker

        # Nobody calls a worker: it has no use for API keys, nor has the address that would ask for them any meaning.
        no_api: dict[str, Any] = {"api_keys": {}, "host": LOOPBACK[0]}
        settings = load_settings(
            app=app,
            processes=processes,
            concurrency=concurrency,
            queues=queues,
            device=device,
            data=data,
            rehearse=rehearse,
            events=events,
            **no_api,
        )
        configure_logging(settings.log_level)
        _refuse_unsafe(settings, find_store_url(settings))
        wrong = WrongStart()
    with _start_errors(settings.app):
        status = run_worker(settings, name, wrong.end, identity=identity)
    wrong.leave()
    raise typer.Exit(status)


def _refuse_unsafe(settings: Settings, url: str) -> None:
    """End when the store at `url` would lose jobs; say what is wrong and what mends it."""
    from longrun.wiring import check_start

    findings = check_start(settings, url)
    for each in findings:
        say(f"error: {each.name}: {each.found}\n  mend it: {each.mend}")
    if findings:
        say("the store is not safe: nothing was started; `longrun doctor` shows every check")
        raise typer.Exit(WRONG_START)


class WrongStart:
    """Stops this process, in order, when it turns out later that it must not run here: see `on_wrong_start` of `run_worker`."""

    def __init__(self) -> None:
        self._seen = False

    @property
    def status(self) -> int:
        """To exit with."""
        return WRONG_START if self._seen else 0

    def end(self) -> None:
        """Stop the process. Callable from any thread, and again; the log has said why."""
        if not self._seen:  # a second signal would mean: at once
            self._seen = True
            os.kill(os.getpid(), signal.SIGTERM)

    def leave(self) -> None:
        """Exit with status 2 if it came to that."""
        if self.status:
            raise typer.Exit(self.status)


@contextmanager
def _start_errors(target: str | None) -> Iterator[None]:
    """An error that a restart would repeat ends the process with status 2; one in the user's code is shown with its traceback."""
    try:
        with needs_extra("The command"):
            yield
    except (LongrunError, typer.Exit, _Asked, KeyboardInterrupt):
        raise
    except BaseException as error:
        if isinstance(error, FileNotFoundError) and is_folder_gone():
            raise  # `main` says so
        traceback.print_exc(file=sys.stderr)
        say(f"error: {target or 'the application'} cannot be served: {type(error).__name__}: {error}")
        raise typer.Exit(WRONG_START) from None
