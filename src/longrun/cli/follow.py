"""Follow a job to its end over HTTP.

Long-poll while it waits in the queue, server-sent events while it runs, long-poll again where events do not get through.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from longrun.cli.http import Client

if TYPE_CHECKING:
    import httpx

Json = dict[str, Any]

_NOT_STARTED = frozenset({"scheduled", "queued"})
_LOOK = 2.0  # seconds after which the position in the queue is read again
_POLL = 20.0
_SILENCE = 45.0  # the server says something every 15 s
_PATIENCE = 30.0  # seconds without any sign of life of the server
_NO_STREAM = frozenset({404, 405, 406, 415, 501})


class Watcher(Protocol):
    """Whom `follow` tells what happens."""

    def on_job(self, job: Json) -> None:
        """The job as it is now."""

    def on_event(self, event: Json) -> None:
        """One event of the job's log, in order, each once."""


def follow(client: Client, job: Json, watcher: Watcher) -> Json:
    """Wait for the end of `job` and return it as it ended.

    Raises:
        httpx.TransportError: the server has not answered for 30 s; the job goes on without us.
        httpx.HTTPStatusError: the server no longer shows the job.
    """
    watcher.on_job(job)
    while job["status"] in _NOT_STARTED:
        job = _next(client, job, _LOOK)
        watcher.on_job(job)
    streams = not job["terminal"] and _stream(client, job["id"], watcher)
    job = client.get(job_path(job["id"])) if streams else job
    while not job["terminal"]:
        job = _next(client, job, _POLL)
        watcher.on_job(job)
    return job


def job_path(job_id: str) -> str:
    """Path of a job below `/api/v1`."""
    return f"/jobs/{quote(job_id, safe='')}"


def _next(client: Client, job: Json, seconds: float) -> Json:
    """The job after its next change, or after `seconds`."""
    headers = {"If-None-Match": f'"{job["version"]}"', "Prefer": f"wait={seconds:g}"}
    started = time.monotonic()
    response = client.send("GET", job_path(job["id"]), headers=headers, wait=seconds)
    if response.status_code == 304:
        # A server that does not wait must not be asked without pause.
        time.sleep(max(0.0, min(1.0, seconds - (time.monotonic() - started))))
        return dict(client.get(job_path(job["id"])))
    return dict(response.json())


def _stream(client: Client, job_id: str, watcher: Watcher) -> bool:
    """Pass on the job's events until `done`, through broken connections. False = events do not get through to us."""
    import httpx

    reader, pause = _Reader(client, job_id, watcher), 0.2
    while True:
        reader.heard = False
        try:
            ended = reader.read()
        except (httpx.HTTPStatusError, httpx.TransportError) as error:
            ended = reader.judge(error)
        if ended is not None:
            return ended
        pause = 0.2 if reader.heard else min(pause * 2, 3.0)
        time.sleep(pause)


class _Reader:
    """One reader of a job's events, over as many connections as it takes."""

    def __init__(self, client: Client, job_id: str, watcher: Watcher) -> None:
        self._client = client
        self._path = f"{job_path(job_id)}/events"
        self._watcher = watcher
        self._after = 0
        self._alive = time.monotonic()
        self.heard = False

    def read(self) -> bool | None:
        """Read until the connection ends. True = all was read, False = no events come this way, None = there is more."""
        with self._client.stream(self._path, {"Last-Event-ID": str(self._after)} if self._after else {}, _SILENCE) as response:
            if response.status_code == 204:
                return True
            if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                return False
            for event in read_events(response.iter_bytes()):
                self.heard, self._alive = True, time.monotonic()
                if event["seq"] > self._after:
                    self._after = event["seq"]
                    self._watcher.on_event(event)
                if event["type"] == "done":
                    return True
        return None

    def judge(self, error: httpx.HTTPStatusError | httpx.TransportError) -> bool | None:
        """What a failed connection means: False = no events come this way, None = try again.

        Raises:
            httpx.HTTPError: `error`, when trying again does not help, or has not helped for too long.
        """
        import httpx

        if isinstance(error, httpx.HTTPStatusError):
            if error.response.status_code in _NO_STREAM:
                return False
            if error.response.status_code < 500:
                raise error
        elif isinstance(error, httpx.ReadTimeout) and not self.heard:
            return False  # something between us and the server holds the stream back
        if time.monotonic() - self._alive > _PATIENCE:
            raise error
        return None


def read_events(chunks: Iterable[bytes]) -> Iterator[Json]:
    """The events in a byte stream of server-sent events, each as the JSON object of its `data`."""
    data: list[str] = []
    for line in _lines(chunks):
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            yield json.loads("\n".join(data))
            data = []


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    # Not httpx's `iter_lines`: it also splits at U+2028 and others, which JSON text may contain.
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r").decode("utf-8", errors="replace")
