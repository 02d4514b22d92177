"""Thousands of jobs: made from a seed, submitted by several clients, watched by what the models note, read back once at the end."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tests.chaos.history import Ask, History, Outcome, Run

TRY_AGAIN = frozenset({503, 507})
ANSWER_WITHIN = 120.0  # seconds until a repeated request must have been answered
READERS = 8


@dataclass(frozen=True, slots=True)
class Order:
    """A job to submit; its number makes text and Idempotency-Key."""

    number: int
    model: str
    seconds: float


def orders(jobs: int, seed: int) -> list[Order]:
    """Async, sync, streamed and batched jobs of up to three seconds, from the seed alone."""
    dice = random.Random(seed)
    lengths = {"nap": [0.0, 0.2, 1.0, 3.0], "grind": [0.0, 0.05, 0.1, 0.2], "spell": [0.2, 1.0, 2.0], "weigh": [0.0, 0.2, 0.5]}
    models = dice.choices(list(lengths), [4, 2, 2, 2], k=jobs)
    return [Order(number, model, dice.choice(lengths[model])) for number, model in enumerate(models)]


def ask(http: httpx.Client, method: str, path: str, **options: Any) -> tuple[httpx.Response, int]:
    """The answer, and how many tries it took.

    Raises:
        AssertionError: an answer that no caller should get, or none in two minutes.
    """
    deadline, tries = time.monotonic() + ANSWER_WITHIN, 0
    while True:
        tries += 1
        try:
            answer = http.request(method, path, **options)
            if answer.is_success:
                return answer, tries
            why = f"{answer.status_code} {answer.text}"
            assert answer.status_code in TRY_AGAIN, f"{method} {path}: {why}"
        except httpx.TransportError as error:
            why = repr(error)
        assert time.monotonic() < deadline, f"{method} {path} was not answered within {ANSWER_WITHIN:g} s: {why}"
        time.sleep(0.1)


class Clients:
    """Threads that submit all orders at `rate` a second in all, each until it is answered."""

    def __init__(self, url: str, todo: list[Order], *, clients: int, rate: float) -> None:
        self.accepted: dict[str, Ask] = {}
        self.repeated = self.replayed = 0
        self.errors: list[BaseException] = []
        self._url, self._todo, self._rate, self._lock = f"{url}/api/v1", iter(todo), rate, threading.Lock()
        self._begun = time.monotonic()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def start(self) -> None:
        """Start them."""
        self._begun = time.monotonic()
        for thread in self._threads:
            thread.start()

    @property
    def done(self) -> bool:
        """Whether all orders are accepted. Raises what a client met."""
        if self.errors:
            raise self.errors[0]
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=10) as http:
            while True:
                with self._lock:
                    order = next(self._todo, None)
                if order is None or self.errors:
                    return
                time.sleep(max(0.0, self._begun + order.number / self._rate - time.monotonic()))
                try:
                    self._submit(http, order)
                except BaseException as error:
                    self.errors.append(error)
                    return

    def _submit(self, http: httpx.Client, order: Order) -> None:
        key, text = f"order-{order.number}", f"text {order.number}"
        body = {"input": {"text": text, "seconds": order.seconds}, "metadata": {"key": key}}
        answer, tries = ask(http, "POST", f"/models/{order.model}/jobs", headers={"Idempotency-Key": key}, json=body)
        with self._lock:
            self.accepted[answer.json()["id"]] = Ask(order.model, text, key)
            self.repeated += tries - 1
            self.replayed += "idempotency-replayed" in answer.headers


@dataclass(slots=True)
class Notes:
    """What models have noted so far, and when that was read (seconds, monotonic), to about 0.1 s."""

    path: Path
    runs: list[tuple[Run, float]] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)  #: how often the work of a job was done to its end
    pids: set[int] = field(default_factory=set)
    _offset: int = 0

    def read(self) -> Notes:
        """Itself, with what is new."""
        if not self.path.exists():
            return self
        with self.path.open("rb") as log:
            log.seek(self._offset)
            data, now = log.read(), time.monotonic()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.decode().splitlines():
            what, job_id, attempt, pid = line.split()
            if what == "begin":
                self.runs.append((Run(job_id, int(attempt), int(pid)), now))
                self.pids.add(int(pid))
            else:
                self.ends[job_id] += 1
        return self


def read_back(url: str, accepted: dict[str, Ask], *, patience: float) -> History:
    """Everything that is told of every job, read once each; unfinished ones again until they end or nothing ends for `patience` seconds."""
    history = History(accepted=accepted)
    with httpx.Client(base_url=f"{url}/api/v1", timeout=30) as http, ThreadPoolExecutor(READERS) as pool:
        left, changed = list(accepted), time.monotonic()
        while left and time.monotonic() - changed < patience:
            jobs = pool.map(lambda job_id: ask(http, "GET", f"/jobs/{job_id}")[0].json(), left)
            ended = {job["id"]: job for job in jobs if job["terminal"]}
            history.outcomes |= dict(pool.map(lambda job: _outcome(http, job), ended.values()))
            if ended:
                changed = time.monotonic()
            left = [job_id for job_id in left if job_id not in ended]
            time.sleep(1.0 if left else 0.0)
        unfinished = pool.map(lambda job_id: _outcome(http, ask(http, "GET", f"/jobs/{job_id}")[0].json()), left)
        history.outcomes |= dict(unfinished)
    return history


def _outcome(http: httpx.Client, job: dict[str, Any]) -> tuple[str, Outcome]:
    path = f"/jobs/{job['id']}"
    events = ask(http, "GET", f"{path}/events", headers={"Accept": "application/json"})[0].json()["events"]
    return job["id"], Outcome(job, events, ask(http, "GET", f"{path}/attempts")[0].json()["attempts"])


def listed(url: str) -> dict[str, list[str]]:
    """Ids of all jobs there are, by the key they were submitted with."""
    by_key: dict[str, list[str]] = {}
    with httpx.Client(base_url=url, timeout=30) as http:
        for job in _pages(http):
            by_key.setdefault(job["metadata"]["key"], []).append(job["id"])
    return by_key


def _pages(http: httpx.Client) -> Iterator[dict[str, Any]]:
    path: str | None = "/api/v1/jobs?limit=100"
    while path:
        page = ask(http, "GET", path)[0].json()
        yield from page["jobs"]
        path = page["next"]


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which `share` of the values lie; 0 when there are none."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0
