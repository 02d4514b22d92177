"""`longrun serve`: the whole service on this machine: store, API and worker."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from longrun.cli.apis import HEAD_START, ApiProcesses, command, listening
from longrun.cli.ending import in_time
from longrun.cli.http import glance
from longrun.cli.listen import url_of
from longrun.cli.options import ApiProcesses as Apis
from longrun.cli.options import App, Concurrency, Data, Device, Host, Port, Processes, Queues, Rehearse
from longrun.cli.report import Reporter
from longrun.cli.show import say, shown_url, write
from longrun.cli.supervisor import Child, Supervisor, stop_patience
from longrun.cli.values import command_line, curl_words, example_input
from longrun.observe.output import take_over, take_over_descriptors
from longrun.version import API_PREFIX

if TYPE_CHECKING:
    from longrun.embedded import EmbeddedValkey
    from longrun.settings import Settings

GRACE = 2.0  # seconds for running jobs when someone presses Ctrl-C; LONGRUN_GRACE says otherwise
# The worker starts when the API answers, so that what is wrong with the models is said once; at the latest after `HEAD_START`.
_START = 30.0  # seconds until we say that it is not ready yet


@in_time()
def serve(
    app: App = None,
    *,
    host: Host = None,
    port: Port = None,
    data: Data = None,
    api_processes: Apis = None,
    processes: Processes = None,
    concurrency: Concurrency = None,
    device: Device = None,
    queues: Queues = None,
    rehearse: Rehearse = None,
) -> None:
    """Serve a file of models: an embedded Valkey, the API and a worker.

    With LONGRUN_REDIS_URL that store is used, and no embedded one. Ctrl-C stops everything; a process that dies is started again.
    """
    import typer

    from longrun.errors import SettingsError
    from longrun.settings import load_settings

    settings = load_settings(
        app=app,
        host=host,
        port=port,
        data=data,
        api_processes=api_processes,
        processes=processes,
        concurrency=concurrency,
        device=device,
        queues=queues,
        rehearse=rehearse,
    )
    if not settings.app:
        raise SettingsError("nothing to serve: name a file or module with models, as in `longrun serve app.py`, or set LONGRUN_APP")
    take_over("stdout", "stderr")
    take_over_descriptors()
    with _stoppable(), listening(settings) as socks:
        valkey, redis_url = _start_store(settings)
        try:
            status = _supervise(settings, socks, valkey, redis_url)
        finally:
            if valkey is not None:
                valkey.stop()
    raise typer.Exit(status)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Until something runs that has to be stopped in order, SIGTERM and Ctrl-C are a normal exit."""
    import typer

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # all has stopped; see `in_time`


def _start_store(settings: Settings) -> tuple[EmbeddedValkey | None, str]:
    if settings.redis_url:
        return None, settings.redis_url
    from longrun.embedded import EmbeddedValkey

    valkey = EmbeddedValkey(settings.data, durability=settings.durability)
    return valkey, valkey.start()


def _supervise(settings: Settings, socks: Sequence[socket.socket], valkey: EmbeddedValkey | None, redis_url: str) -> int:
    from longrun.settings import worker_environment

    url = url_of(socks[0])
    env = child_environment(dict(os.environ), settings, redis_url, url)
    apis = ApiProcesses(settings.api_processes, settings.app, socks, env)
    due = time.monotonic() + HEAD_START
    children = [*apis.children, Child("worker", command("worker", settings.app), worker_environment(env), due=due, identified=True)]
    secrets = [key.get_secret_value() for key in settings.api_keys.values()]
    start = Start(url, secrets[0] if secrets else "", settings, redis_url, apis)
    reporter = Reporter(settings, redis_url, say)
    patience = stop_patience(chosen_grace(settings), settings.drain)
    return Supervisor(children, valkey, start.look, patience=patience, say=say, on_death=reporter.report).run()


def chosen_grace(settings: Settings) -> float:
    """Seconds that running jobs get when the service stops: LONGRUN_GRACE, else 2 (a worker on its own gives more)."""
    return settings.grace if "grace" in settings.model_fields_set else GRACE


def child_environment(env: dict[str, str], settings: Settings, redis_url: str, url: str) -> dict[str, str]:
    """The environment of `longrun api` and `longrun worker`: ours, with the settings of the command line and of this start."""
    given = {
        "app": settings.app,
        "host": settings.host,
        "port": url.rpartition(":")[2],
        "data": str(settings.data.resolve()),
        "api_processes": settings.api_processes,
        "processes": settings.processes,
        "concurrency": settings.concurrency,
        "device": settings.device,
        "queues": ",".join(settings.queues),
        "rehearse": settings.rehearse or None,
        "grace": chosen_grace(settings),
        "redis_url": redis_url,
    }
    return env | {f"LONGRUN_{name.upper()}": str(value) for name, value in given.items() if value is not None}


class Start:
    """Watches the start from outside, as a caller would, and says when it is ready."""

    def __init__(self, url: str, key: str, settings: Settings, redis_url: str, apis: ApiProcesses) -> None:
        import httpx

        from longrun.client.http.connection import http_options

        self._apis = apis
        self._url, self._http = url, httpx.Client(**http_options(url, key))
        self._settings = settings
        self._store = "Valkey in " + str(settings.data) if not settings.redis_url else shown_url(redis_url)
        self._began = time.monotonic()
        self._next = 0.0
        self._late = False

    def look(self) -> Literal["silent", "answering", "ready"]:
        """The state of the start. Prints the greeting when every API process has come up and a worker has announced itself."""
        now = time.monotonic()
        if now < self._next:
            return "silent"
        self._next = now + (1.0 if self._late else 0.1)
        body = glance(self._http, f"{self._url}/readyz", 0.5)
        all_up = self._apis.state() == "ready"
        if body is not None and all_up and body.get("ready") and body.get("workers", 0) > 0:
            self._greet()
            return "ready"
        if now - self._began > _START and not self._late:
            self._late = True
            waits = (
                "the API does not answer"
                if body is None
                else "the store does not answer"
                if not body.get("ready")
                else "not every API process answers"
                if not all_up
                else "no worker is there"
            )
            say(f"not ready after {_START:g} s: {waits} yet; still waiting")
        return "silent" if body is None else "answering"

    def _greet(self) -> None:
        found = (glance(self._http, f"{self._url}{API_PREFIX}/models", 5.0) or {}).get("models", [])
        write("\n".join([*greeting(self._url, self._store, found, keyed=bool(self._settings.api_keys)), ""]))


def greeting(url: str, store: str, models: list[dict[str, Any]], *, keyed: bool) -> list[str]:
    """What is printed when the service is ready: where it is, what it serves, and three lines to copy.

    Args:
        url: of the API.
        store: where jobs are kept, in words.
        models: as `/models` shows them.
        keyed: whether callers need a key.
    """
    names = ", ".join(model["name"] for model in models)
    lines = [f"Longrun is ready at {url}  (docs: {url}/docs)", f"  models  {names}", f"  store   {store}", ""]
    if not models:
        return lines[:3]
    fields = example_input(models[0]["input_schema"])
    name, auth = models[0]["name"], ' -H "Authorization: Bearer $LONGRUN_KEY"' if keyed else ""
    options = () if url == "http://127.0.0.1:8000" else ("--url", url)
    return [
        *lines,
        f"  curl -s{auth} {curl_words(fields)} {url}{API_PREFIX}/models/{name}/jobs",
        f"  curl -s{auth} -H 'Prefer: wait=60' {url}{API_PREFIX}/jobs/ID_FROM_ABOVE",
        f"  {command_line(name, fields, *options)}",
        "",
    ]
