"""A careful client: repeats a submit with the same Idempotency-Key until it is answered, and watches its jobs all the time."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self

import httpx
from tests.chaos.check import digest_of, files_in, sha_256
from tests.chaos.cluster import Cluster
from tests.chaos.history import Ask, History, Outcome
from tests.chaos.program import until
from tests.chaos.reader import TRY_AGAIN, Reader, now_and_then


class Caller:
    """A context manager; while it is open, a thread reads every unfinished job again and again into `history`.

    Args:
        cluster: whom to call.
        readers: whether `collect` asks every route that tells a job's end; False for a service that has less of them.
    """

    def __init__(self, cluster: Cluster, *, readers: bool = True) -> None:
        self.cluster, self.history = cluster, History()
        self._http = httpx.Client(base_url=f"{cluster.url}/api/v1", timeout=10)
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="watcher")
        self.faults: list[str] = []  #: answers that no caller should ever get
        self._all_routes = readers
        self._readers: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closing.set()
        for thread in (self._watcher, *self._readers):
            thread.join()
        self._http.close()

    def submit(
        self,
        model: str,
        text: str,
        seconds: float,
        *,
        key: str | None = None,
        within: float = 60.0,
        follow: bool = False,
        film: bytes | None = None,
        **options: Any,
    ) -> str:
        """The id of the accepted job. Every try carries the same key, so that however many arrive, one job is made.

        Args:
            model, text, seconds: of the job.
            key: the Idempotency-Key; a new one by default.
            within: seconds until an answer must have come.
            follow: read its events as a stream, on a thread of their own.
            film: a file that goes with it, as the field of that name; the submit is a form then.
            options: further members of the body, such as `priority`.
        """
        key = key or uuid.uuid4().hex
        self.history.given_up.add(key)
        headers, body = {"Idempotency-Key": key}, request(text, seconds, film, {"metadata": {"key": key}, **options})
        job = self._ask("POST", f"/models/{model}/jobs", within=within, headers=headers, **body)
        self.history.given_up.discard(key)
        job_id: str = job["id"]
        self.history.accepted[job_id] = Ask(model, text, key, job["policy"]["delivery"] == "at_most_once", film)
        if follow:
            self._readers.append(threading.Thread(target=self._stream, args=(job_id,), name=f"reader of {job_id}"))
            self._readers[-1].start()
        return job_id

    def submit_once(
        self, model: str, text: str, seconds: float, *, key: str | None = None, film: bytes | None = None, **options: Any
    ) -> httpx.Response:
        """The answer to one try, whatever it is. An accepted job is part of the history; another one is an unknown submit."""
        key = key or uuid.uuid4().hex
        body = request(text, seconds, film, {"metadata": {"key": key}, **options})
        self.history.given_up.add(key)
        answer = self._http.post(f"/models/{model}/jobs", headers={"Idempotency-Key": key}, **body)
        if answer.status_code == 202:
            self.history.accepted[answer.json()["id"]] = Ask(model, text, key, film=film)
            self.history.given_up.discard(key)
        return answer

    def get(self, path: str, **options: Any) -> Any:
        """A GET, repeated until it is answered."""
        return self._ask("GET", path, **options)

    def delete(self, job_id: str) -> None:
        """Erase an ended job; one that is gone already counts."""
        answer = self._answer("DELETE", f"/jobs/{job_id}")
        assert answer.status_code in (204, 410), answer.text

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
        for reader in self._readers:
            reader.join(30)
            assert not reader.is_alive(), f"the {reader.name} hears nothing of the end"
        for job_id in self.history.accepted:
            events = self._events(job_id)
            attempts = self.get(f"/jobs/{job_id}/attempts")["attempts"]
            job = self.get(f"/jobs/{job_id}")
            told = dict(self._told(job, events))
            if job.get("output_file"):
                job["output"] = self.get(f"/jobs/{job_id}/result")
            self.history.contents |= {file["id"]: self._content(file["url"]) for file in files_in(job["output"])}
            self.history.outcomes[job_id] = Outcome(job, events, attempts, told)
        self.history.runs = self.cluster.runs()
        self.history.listed = self._listed() if self._all_routes else {}
        assert not self.faults, self.faults[:5]
        return self.history

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs there are, as the listing shows them."""
        found: list[dict[str, Any]] = []
        path: str | None = "/jobs?limit=100"
        while path:
            page = self.get(path)
            found += page["jobs"]
            path = page["next"]
        return found

    def _events(self, job_id: str) -> list[dict[str, Any]]:
        """All events of a job, page after page."""
        events: list[dict[str, Any]] = []
        while True:
            after = events[-1]["seq"] if events else 0
            page = self.get(f"/jobs/{job_id}/events", params={"after": after}, headers={"Accept": "application/json"})
            events += page["events"]
            if not page["events"] or page["next"] is None:
                return events

    def _output(self, job: dict[str, Any]) -> Any:
        """The output that a job shows; one of more than 64 KB lies behind a URL."""
        return self.get(job["output_file"]["url"]) if job.get("output_file") else job["output"]

    def _content(self, url: str) -> bytes | None:
        answer = self._answer("GET", url, follow_redirects=True)
        return answer.content if answer.status_code == 200 else None

    def _listed(self) -> dict[str, list[str]]:
        by_key: dict[str, list[str]] = {}
        for job in self.jobs():
            if key := job["metadata"].get("key"):
                by_key.setdefault(key, []).append(job["id"])
        return by_key

    def _told(self, job: dict[str, Any], events: list[dict[str, Any]]) -> Iterator[tuple[str, tuple[str, str]]]:
        """(end, digest of the output) as each reader is told: all of them must agree."""
        if not job["terminal"] or not self._all_routes:
            return
        path, nothing = f"/jobs/{job['id']}", digest_of(None)
        yield "job", (job["status"], digest_of(self._output(job)))
        done = events[-1]["data"]
        if "output" in done:
            yield "done event", (done["status"], digest_of(self._output(done)))
        answer = self._answer("GET", f"{path}/result")
        if answer.status_code == 200:
            yield "result", ("succeeded", digest_of(answer.json()))
        elif answer.status_code == 303:  # the output is a file, and this leads to it
            right = sha_256(self._content(answer.headers["Location"]) or b"") == job["output"]["digest"]
            yield "result", ("succeeded", digest_of(job["output"]) if right else "other bytes")
        else:
            code = answer.json().get("code")
            yield "result", (code if code in ("canceled", "expired") else "failed", nothing)
        output = self.get(f"{path}/output")
        if output["complete"] or job["status"] == "succeeded":
            yield "output", (output["status"], digest_of(output["output"]))

    def _ask(self, method: str, path: str, *, within: float = 60.0, **options: Any) -> Any:
        answer = self._answer(method, path, within=within, **options)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def _answer(self, method: str, path: str, *, within: float = 60.0, **options: Any) -> httpx.Response:
        """The first answer that does not ask to try again."""
        deadline = time.monotonic() + within
        while True:
            try:
                answer = self._http.request(method, path.removeprefix("/api/v1"), **options)
                if answer.status_code not in TRY_AGAIN:
                    return answer
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

    def _stream(self, job_id: str) -> None:
        """Read a job's events to the end. The reader hangs up now and then, also within an event, and goes on after the last whole one."""
        events: list[dict[str, Any]] = []
        self.history.streams.setdefault(job_id, []).append(events)
        reader = Reader([self.cluster.url], job_id, events, hang_up=now_and_then(random.Random(job_id)))
        if fault := reader.read(stop=self._closing.is_set):
            self.faults.append(fault)


def request(text: str, seconds: float, film: bytes | None, options: dict[str, Any]) -> dict[str, Any]:
    """A submit as httpx takes it: JSON, or a form when a file goes with it."""
    if film is None:
        return {"json": {"input": {"text": text, "seconds": seconds}, **options}}
    fields = {"text": text, "seconds": str(seconds), "_options": json.dumps(options)}
    return {"data": fields, "files": {"film": ("film.bin", film, "application/octet-stream")}}
