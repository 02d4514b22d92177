"""A rolling restart under load: two APIs and three workers are replaced one by one. No request fails, no job is lost, none runs twice.

The balancer does what Kubernetes does: it looks at /readyz, sends new connections in turn to whoever is ready, and repeats nothing. The
callers repeat nothing either. `ROLLING_SECONDS` says how long the long test takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.chaos.check import violations
from tests.chaos.cluster import APP, START_WITHIN, Cluster, free_port
from tests.chaos.history import Ask, History, Outcome
from tests.chaos.program import Program, until

# The drain is long: the balancer has to see /readyz in that time, and it may have to wait for a core.
SETTINGS = {"LONGRUN_GRACE": "40", "LONGRUN_DRAIN": "6", "LONGRUN_LEASE": "60", "LONGRUN_HEARTBEAT": "3"}
LOOK_EVERY = 0.3  # seconds between two looks at /readyz, much less than the drain
SECONDS = float(os.environ.get("ROLLING_SECONDS", "120"))


class Balancer:
    """Passes connections on to the APIs that are ready, on a thread of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self._ready: dict[int, bool] = {}
        self._turn = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="balancer")

    def __enter__(self) -> Balancer:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def add(self, port: int) -> None:
        """Look at this API from now on; returns when it is served."""
        self._ready[port] = False
        until(lambda: self._ready[port], f"port {port} is ready", timeout=START_WITHIN)

    def forget(self, port: int) -> None:
        """Its process has ended."""
        del self._ready[port]

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self._looking = asyncio.ensure_future(self._look())

    async def _close(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self) -> None:
        async with httpx.AsyncClient(timeout=5, headers={"Connection": "close"}) as http:
            while True:
                for port in list(self._ready):
                    try:
                        ready = (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
                    except httpx.TransportError:
                        ready = False
                    if port in self._ready:
                        self._ready[port] = ready
                await asyncio.sleep(LOOK_EVERY)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ports = [port for port, ready in self._ready.items() if ready]
        upstream: asyncio.StreamWriter | None = None
        try:
            answers, upstream = await asyncio.open_connection("127.0.0.1", ports[next(self._turn) % len(ports)])
            await asyncio.wait({asyncio.ensure_future(_pump(reader, upstream)), asyncio.ensure_future(_pump(answers, writer))})
        except (OSError, ZeroDivisionError):
            return  # nobody is there: the caller gets nothing, and counts it
        finally:
            for end in (writer, upstream):
                if end is not None:
                    end.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


class Load:
    """Callers who submit, read, wait and follow, and note every answer that is not the right one."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/api/v1"
        self._over = threading.Event()
        self.failed: list[str] = []
        self.requests = itertools.count()
        self.history = History()
        self._threads = [
            threading.Thread(target=self._run, args=(each,)) for each in (self._submit, self._submit, self._wait, self._follow)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin nothing new, and come to an end."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, one: Callable[[httpx.Client], None]) -> None:
        with httpx.Client(base_url=self._base, timeout=60) as http:
            while not self._over.is_set():
                try:
                    one(http)
                except (httpx.HTTPError, AssertionError) as error:
                    self.failed.append(f"{time.strftime('%X')} {type(error).__name__}: {error}")
                    self._over.wait(0.1)

    def _ask(self, http: httpx.Client, verb: str, path: str, **options: object) -> httpx.Response:
        next(self.requests)
        answer = http.request(verb, path, **options)  # type: ignore[arg-type]
        assert answer.status_code in (200, 202), f"{verb} {path}: {answer.status_code} {answer.text[:200]}"
        return answer

    def _new(self, http: httpx.Client, model: str, seconds: float, text: str = "rolled over", **headers: str) -> str:
        body = {"input": {"text": text, "seconds": seconds}}
        job = self._ask(http, "POST", f"/models/{model}/jobs", json=body, headers=headers).json()
        self.history.accepted[job["id"]] = Ask(model, text)
        job_id: str = job["id"]
        return job_id

    def _submit(self, http: httpx.Client) -> None:
        for model in ("nap", "grind", "weigh"):
            job_id = self._new(http, model, 0.05)
            self._over.wait(0.1)
            self.history.see(self._ask(http, "GET", f"/jobs/{job_id}").json())

    def _wait(self, http: httpx.Client) -> None:
        job_id = self._new(http, "nap", 1.0, Prefer="wait=10")
        self.history.see(self._ask(http, "GET", f"/jobs/{job_id}", headers={"Prefer": "wait=10"}).json())

    def _follow(self, http: httpx.Client) -> None:
        """Read a stream as a browser does: when it ends before the job, go on where it ended. It must never be cut."""
        job_id, seen, done = self._new(http, "spell", 2.0, "a stream that goes on"), 0, False
        events: list[dict[str, Any]] = []
        while not done:
            next(self.requests)
            with http.stream("GET", f"/jobs/{job_id}/events", headers={"Last-Event-ID": str(seen)}) as stream:
                assert stream.status_code == 200, stream.status_code
                for line in stream.iter_lines():
                    if line.startswith("data:"):
                        events.append(json.loads(line[5:]))
                        seen, done = events[-1]["seq"], events[-1]["type"] == "done"
        self.history.streams[job_id] = [events]


class Fleet(Cluster):
    """APIs on ports of their own, behind a balancer, and workers."""

    def __init__(self, folder: Path, balancer: Balancer) -> None:
        super().__init__(folder, settings=SETTINGS)
        self._balancer = balancer
        self.apis: list[tuple[int, Program]] = []
        self.workers: list[Program] = []
        self._numbers = itertools.count()

    def add_api(self) -> None:
        """Start one; returns when the balancer uses it."""
        port = free_port()
        self.apis.append((port, self._start("api", [str(APP), "--port", str(port)])))
        self._balancer.add(port)

    def add_worker(self) -> None:
        """Start one; returns when its models are loaded."""
        name = f"worker-{next(self._numbers)}@here"
        self.workers.append(self.start_worker("--name", name))

        def ready() -> bool:
            found = httpx.get(f"{self.url}/api/v1/workers", timeout=30).json()["workers"]
            return any(all(model["state"] == "ready" for model in each["models"].values()) for each in found if each["name"] == name)

        until(ready, f"{name} is ready", timeout=START_WITHIN, every=0.3)

    def replace_api(self) -> float:
        """The new one first; then the oldest ends. Seconds that its end took."""
        self.add_api()
        port, old = self.apis.pop(0)
        told = time.monotonic()
        assert old.stop(timeout=90) == 0, old.tail()
        self._balancer.forget(port)
        return time.monotonic() - told

    def replace_worker(self) -> float:
        """As `replace_api`."""
        self.add_worker()
        told, old = time.monotonic(), self.workers.pop(0)
        assert old.stop(timeout=90) == 0, old.tail()
        return time.monotonic() - told


@pytest.fixture
def fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Fleet, Load]]:
    """Two APIs, so many workers, and callers who have begun."""
    with Balancer() as balancer, Fleet(tmp_path, balancer) as fleet:
        for _ in range(2):
            fleet.add_api()
        for _ in range(request.param):
            fleet.add_worker()
        load = Load(balancer.port)
        load.start()
        try:
            yield fleet, load
        finally:
            load.stop()


def judged(fleet: Fleet, load: Load) -> None:
    """Read everything back, and look for what was lost, repeated or refused."""
    history = load.history
    with httpx.Client(base_url=f"{fleet.url}/api/v1", timeout=70) as http:
        for job_id in list(history.accepted):
            job = http.get(f"/jobs/{job_id}", headers={"Prefer": "wait=60"}).json()
            events = http.get(f"/jobs/{job_id}/events", headers={"Accept": "application/json"}).json()["events"]
            attempts = http.get(f"/jobs/{job_id}/attempts").json()["attempts"]
            history.outcomes[job_id] = Outcome(job, events, attempts)
            history.see(job)
    history.runs = fleet.runs()
    # Runs, not attempts: a job that waited in a worker behind a long one goes to another worker without having begun.
    again = [job_id for job_id, runs in Counter(run.job_id for run in history.runs).items() if runs > 1]
    print(f"{next(load.requests)} requests, {len(load.failed)} failed; {len(history.accepted)} jobs, {len(again)} ran again")
    assert load.failed == []
    assert violations(history) == []
    assert again == []


@pytest.mark.slow  # test_two_versions.py does this with two versions
@pytest.mark.parametrize("fleet", [1], indirect=True)
def test_an_api_and_a_worker_are_replaced_under_load_and_nobody_notices(fleet: tuple[Fleet, Load]) -> None:
    cluster, load = fleet
    api, worker = cluster.replace_api(), cluster.replace_worker()
    load.stop()
    print(f"the API ended {api:.1f} s after SIGTERM (it drains for 6 s), the worker {worker:.1f} s")
    judged(cluster, load)


@pytest.mark.chaos
@pytest.mark.parametrize("fleet", [3], indirect=True)
def test_a_rolling_restart_of_all_apis_and_workers_again_and_again_costs_no_request_and_no_job(fleet: tuple[Fleet, Load]) -> None:
    cluster, load = fleet
    begun, replaced = time.monotonic(), 0
    while time.monotonic() < begun + SECONDS:
        for replace in (cluster.replace_api, cluster.replace_worker):
            print(f"{replace.__name__}: {replace():.1f} s")
            replaced += 1
    load.stop()
    print(f"{replaced} processes were replaced in {time.monotonic() - begun:.0f} s")
    judged(cluster, load)
