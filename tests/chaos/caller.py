"""A careful client: repeats a submit with the same Idempotency-Key until it is answered, and watches its jobs all the time."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import httpx
from tests.chaos.cluster import Cluster
from tests.chaos.history import Ask, History, Outcome
from tests.chaos.program import until

#: Answers that ask to try again; anything else but success is a fault of the service.
TRY_AGAIN = frozenset({503})


class Caller:
    """A context manager; while it is open, a thread reads every unfinished job again and again into `history`."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.history = cluster, History()
        self._http = httpx.Client(base_url=f"{cluster.url}/api/v1", timeout=10)
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="watcher")
        self.faults: list[str] = []  #: answers that no caller should ever get

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closing.set()
        self._watcher.join()
        self._http.close()

    def submit(self, model: str, text: str, seconds: float, *, key: str | None = None, within: float = 60.0) -> str:
        """The id of the accepted job. Every try carries the same key, so that however many arrive, one job is made."""
        headers, body = {"Idempotency-Key": key or uuid.uuid4().hex}, {"input": {"text": text, "seconds": seconds}}
        job = self._ask("POST", f"/models/{model}/jobs", within=within, headers=headers, json=body)
        job_id: str = job["id"]
        self.history.accepted[job_id] = Ask(model, text)
        return job_id

    def get(self, path: str, **options: Any) -> Any:
        """A GET, repeated until it is answered."""
        return self._ask("GET", path, **options)

    def wait_for(self, job_ids: Iterable[str], statuses: Iterable[str], *, within: float = 30.0) -> None:
        """Wait until all jobs were last seen in one of `statuses`."""
        ids, wanted = list(job_ids), set(statuses)

        def all_there() -> bool:
            self.cluster.check()
            return all(self.status(job_id) in wanted for job_id in ids)

        until(all_there, f"all of {len(ids)} jobs are {wanted}", timeout=within)

    def wait_for_all(self, *, within: float = 90.0) -> None:
        """Wait until every accepted job has ended."""
        deadline = time.monotonic() + within
        while (left := self.history.unfinished()) and time.monotonic() < deadline:
            self.cluster.check()
            time.sleep(0.05)
        assert not left, (
            f"{len(left)} jobs have not ended within {within:g} s: {[(job_id, self.history.seen.get(job_id)) for job_id in left[:5]]}"
        )

    def status(self, job_id: str) -> str | None:
        """The status the job was last seen in."""
        sights = self.history.seen.get(job_id)
        return sights[-1].status if sights else None

    def collect(self) -> History:
        """The history, complete with what is told of each job now."""
        for job_id in self.history.accepted:
            events = self.get(f"/jobs/{job_id}/events", headers={"Accept": "application/json"})["events"]
            attempts = self.get(f"/jobs/{job_id}/attempts")["attempts"]
            self.history.outcomes[job_id] = Outcome(self.get(f"/jobs/{job_id}"), events, attempts)
        self.history.runs = self.cluster.runs()
        assert not self.faults, self.faults[:5]
        return self.history

    def _ask(self, method: str, path: str, *, within: float = 60.0, **options: Any) -> Any:
        deadline = time.monotonic() + within
        while True:
            try:
                answer = self._http.request(method, path, **options)
                if answer.is_success:
                    return answer.json()
                assert answer.status_code in TRY_AGAIN, f"{method} {path}: {answer.status_code} {answer.text}"
                why = answer.text
            except httpx.TransportError as error:
                why = repr(error)
            assert time.monotonic() < deadline, f"{method} {path} was not answered within {within:g} s: {why}"
            time.sleep(0.1)

    def _watch(self) -> None:
        with httpx.Client(base_url=f"{self.cluster.url}/api/v1", timeout=10) as http:
            while not self._closing.wait(0.05):
                for job_id in self.history.unfinished():
                    if self._closing.is_set():
                        return
                    self._look(http, job_id)

    def _look(self, http: httpx.Client, job_id: str) -> None:
        try:
            answer = http.get(f"/jobs/{job_id}")
        except httpx.TransportError:
            return  # the API was killed by the test; the next round asks again
        if answer.is_success:
            self.history.see(answer.json())
        elif answer.status_code not in TRY_AGAIN:
            self.faults.append(f"GET {job_id}: {answer.status_code} {answer.text}")
