"""The client for ordinary code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from longrun.client import flows
from longrun.client.address import server_key, server_url
from longrun.client.aio import AsyncClient
from longrun.client.arrays import ACCEPT, to_array
from longrun.client.batches import get_batch, line_of, submit_batch
from longrun.client.body import Lines, Source
from longrun.client.connection import Connection
from longrun.client.events import Event, Pieces
from longrun.client.fetching import Wanted, fetch, get_file
from longrun.client.files import absolute, file_path, target, with_files
from longrun.client.following import follow
from longrun.client.mapping import Manner, map_inputs
from longrun.client.patience import Rules
from longrun.client.remote_batches import RemoteBatch
from longrun.client.remote_files import RemoteFile
from longrun.client.saving import Saving
from longrun.client.snapshot import BatchOptions, Options, Snapshot
from longrun.client.wire import Json


class RemoteJob(Snapshot):
    """A job on a server: what was last seen of it, and what can be done with it. Safe to use from several threads."""

    def __init__(self, client: Client, body: Json) -> None:
        super().__init__(body)
        self._client = client

    def refresh(self, wait: float = 0.0) -> Self:
        """Ask for the job as it is now, and return it.

        Args:
            wait: seconds to wait for a change of its status or progress; 20 at most, 0 = none.

        Raises:
            ApiError: `job-not-found` (404), `job-gone` (410) or another problem.
            Unreachable
        """
        rules = self._client.rules
        asked = flows.await_change(rules, self.id, self.body["version"], wait) if wait else flows.get_job(rules, self.id)
        self.body = self._client.connection.run(asked)
        return self

    def wait(self, timeout: float | None = None) -> Self:
        """Wait until the job has ended, however it ends, and return it.

        Args:
            timeout: seconds; None = as long as it takes.

        Raises:
            TimeoutError: it has not ended by then. It goes on.
            ApiError: `job-gone` (410) or another problem.
            Unreachable: the server has not answered for `retry_for` seconds. The job goes on.
        """
        if not self.terminal:
            self.body = self._client.connection.run(flows.await_end(self._client.rules, self.id, timeout))
        return self

    def result(self, timeout: float | None = None, *, as_array: bool = False) -> Any:
        """Wait for the end and return the output: JSON values, with a `RemoteFile` where a file is.

        Args:
            timeout: seconds; None = as long as it takes.
            as_array: return a `numpy.ndarray`. A large one comes as its bytes, never as text.

        Raises:
            TypeError: `as_array`, and the output is no array of numbers.
            JobFailed: it ended without one.
            TimeoutError, ApiError, Unreachable: as with `wait`; ApiError with code `job-gone` too when the output is not kept any longer.
        """
        self.wait(timeout).check()
        asked = flows.result(self._client.rules, self.body, ACCEPT if as_array else "")
        output = self._client.connection.run(asked)
        return to_array(output) if as_array else self._with_files(output)

    def _with_files(self, value: Any) -> Any:
        return with_files(value, lambda file: RemoteFile(self._client, file))

    def events(self, after: int = 0) -> Iterator[Event]:
        """The job's events as they come, each once and in order, until it has ended. Broken connections are resumed.

        Args:
            after: seq of the last event that is known already.

        Raises:
            ApiError, Unreachable: as with `wait`.
        """
        for event in self._client.connection.iterate(follow(self._client.rules, self.id, after)):
            self.see(event)
            yield event

    def stream(self, on_restart: Callable[[int], object] | None = None) -> Iterator[Any]:
        """The values that the model yields, as they come; for a model that streams text, pieces of it.

        Only values of the current attempt, and none of them twice. When a later attempt begins after some were given, those do not count
        any longer.

        Args:
            on_restart: called with the number of the attempt that begins anew: forget what came before. Without it StreamBroken is raised,
                and `stream()` can be called again.

        Raises:
            StreamBroken: see above; or pieces are no longer kept by the server.
            JobFailed: the job ended without an output.
            ApiError, Unreachable: as with `wait`.
        """
        pieces = Pieces(self.refresh().attempt, on_restart)
        for event in self.events():
            yield from map(self._with_files, pieces.take(event))
        self.wait().check()

    def cancel(self) -> Self:
        """Ask the job to stop, and return it: canceled, canceling, or as it has ended. May be repeated. Raises ApiError, Unreachable."""
        self.body = self._client.request("POST", flows.job_path(self.id, "/cancel"))
        return self

    def retry(self) -> RemoteJob:
        """A new job with the same input; asked twice, the same new job.

        Raises:
            ApiError: `not-retryable`: it has not failed, nor was it canceled, nor has it expired.
            Unreachable
        """
        return RemoteJob(self._client, self._client.request("POST", flows.job_path(self.id, "/retry")))

    def attempts(self) -> list[Json]:
        """Who ran it, when, and how each attempt ended: the latest hundred. Raises ApiError, Unreachable."""
        return list(self._client.request("GET", flows.job_path(self.id, "/attempts"))["attempts"])

    def delete(self) -> None:
        """Erase an ended job: input, output, events. Raises ApiError (`not-finished` when it has not ended), Unreachable."""
        self._client.connection.run(flows.delete(self._client.rules, flows.job_path(self.id)))


class Client:
    """Calls a Longrun server. One client serves all threads of a program.

    Every request is safe to repeat, so it is repeated while the server is away or too busy: on broken connections and 429, 502, 503, 504,
    with growing random pauses, and not before a Retry-After is over.

    Args:
        url: of the server. Default: LONGRUN_URL from the environment or `.env`, else this machine at LONGRUN_PORT or 8000.
        key: API key. Default: LONGRUN_KEY; "" = none.
        retry_for: seconds for which a call is tried again before its error is raised; 0 = once only.
        refused_for: the same while nothing listens at the address. Default: `retry_for`.
        on_retry: told, once a call, that it is tried again.

    Raises:
        ValueError: the URL or the key cannot be one.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        retry_for: float = 30.0,
        refused_for: float | None = None,
        on_retry: Callable[[str], None] | None = None,
    ) -> None:
        self.url = server_url(url)
        self._key = server_key(key)
        self.rules = Rules.of(self.url, retry_for, refused_for, on_retry)
        self.connection = Connection(self.url, self._key)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a later call opens them again."""
        self.connection.close()

    def submit(self, model: str, input: Any = None, /, **options: Unpack[Options]) -> RemoteJob:
        """Submit a job, and return it as soon as the server has stored it.

        Args:
            model: its name.
            input: what the model's input schema says: a mapping, or a pydantic model. Files in it: a `pathlib.Path`, an open binary file,
                bytes, a `longrun.File`, or a `RemoteFile`; a str is a file's id, its URL or its `data:` URI.
            options: see `Options`: `priority`, `delay`, `tags`, `metadata`, `policy`, `webhook`, `idempotency_key`.

        Raises:
            ApiError: such as `validation-failed`, `unknown-model`, `queue-full`.
            Unreachable: no answer. It says whether the job may exist, and holds the `idempotency_key` with which to find out.
            OSError: a file cannot be read.
        """
        return RemoteJob(self, self.connection.run(flows.submit(self.rules, model, input, options)))

    def run(
        self, model: str, input: Any = None, /, *, timeout: float | None = None, as_array: bool = False, **options: Unpack[Options]
    ) -> Any:
        """Submit a job, wait for its end, and return its output.

        Args:
            model, input, options: as with `submit`.
            timeout: seconds to wait for the end; None = as long as it takes.
            as_array: return a `numpy.ndarray`, see `RemoteJob.result`.

        Raises:
            JobFailed, TimeoutError, ApiError, Unreachable: as with `submit` and `RemoteJob.result`.
        """
        return self.submit(model, input, **options).result(timeout, as_array=as_array)

    def map(
        self,
        model: str,
        inputs: Iterable[Any],
        /,
        *,
        concurrency: int = 64,
        progress: bool = False,
        return_exceptions: bool = False,
        **options: Unpack[Options],
    ) -> Iterator[Any]:
        """Run a job for each input; gives the outputs in the order of the inputs, each as soon as it and those before it are there.

        Args:
            model: its name.
            inputs: may be without end: read as far ahead as four times `concurrency`, on the calling thread.
            concurrency: jobs at once.
            progress: show a bar on stderr if that is a terminal.
            return_exceptions: give the exception in place of the output of an input that failed, and go on; otherwise it is raised.
            options: as with `submit`. With an `idempotency_key` the input number i (from 0) has the key `<key>-<i>`: the same map, run
                again after a break, finds the jobs that it made and pays for none twice.

        Raises:
            JobFailed, ApiError, Unreachable: of the first input, in their order, that failed. Jobs that are under way then go on, as
                they do after Ctrl-C; a note of the exception names them.
        """
        return map_inputs(self._twin(), model, inputs, Manner(concurrency, progress, return_exceptions), options)

    def _twin(self) -> AsyncClient:
        return AsyncClient(self.url, self._key, retry_for=self.rules.retry_for, refused_for=self.rules.refused_for, on_retry=self.rules.say)

    def batch(self, model: str, inputs: Iterable[Any], /, **options: Unpack[BatchOptions]) -> RemoteBatch:
        """Submit many inputs at once, a job for each, and return the batch as soon as the server has stored it: all of them, or none.

        Args:
            model: its name.
            inputs: each as with `submit`; read to their end first, into a temporary file when they are many. Files in them are uploaded.
            options: see `BatchOptions`: those of `submit` without `delay`.

        Raises:
            ApiError: such as `validation-failed`, whose `errors` point to the inputs that are wrong: `/inputs/17/text`.
            Unreachable, OSError: as with `submit`.
        """
        lines = Lines()
        for each in inputs:
            lines.add(self.connection.run(line_of(self.rules, each)))
        return RemoteBatch(self, self.connection.run(submit_batch(self.rules, model, lines, options)))

    def get_batch(self, batch_id: str) -> RemoteBatch:
        """A batch by its id. Raises ApiError: `batch-not-found` (404), `batch-gone` (410); Unreachable."""
        return RemoteBatch(self, self.connection.run(get_batch(self.rules, batch_id)))

    def job(self, job_id: str) -> RemoteJob:
        """A job by its id. Raises ApiError: `job-not-found` (404), `job-gone` (410); Unreachable."""
        return RemoteJob(self, self.connection.run(flows.get_job(self.rules, job_id)))

    def jobs(
        self,
        *,
        model: str | None = None,
        status: str | None = None,
        tag: str | None = None,
        created_after: str | None = None,
        limit: int | None = None,
    ) -> Iterator[RemoteJob]:
        """Your jobs, newest first, without their outputs; read page by page.

        Args:
            model, status, tag: only such jobs.
            created_after: RFC 3339.
            limit: how many at most; None = all.

        Raises:
            ApiError, Unreachable
        """
        filters = {"model": model, "status": status, "tag": tag, "created_after": created_after}
        return (RemoteJob(self, body) for body in self.listing("/jobs", filters, limit))

    def listing(self, path: str, filters: Mapping[str, str | None], limit: int | None = None) -> Iterator[Json]:
        """The jobs of a listing, `/jobs` or `/dead-letters`, as JSON. Raises ApiError, Unreachable."""
        return self.connection.iterate(flows.listing(self.rules, path, filters, limit))

    def upload(self, file: Any, name: str | None = None) -> RemoteFile:
        """Store a file for inputs to come: `{"image": client.upload(path)}`. It is kept as long as a finished job (`expires_at`).

        Args:
            file: a `pathlib.Path` or a path as str, an open binary file, bytes, or a `longrun.File`; read piece by piece from the start.
            name: for people; default: that of the file.

        Raises:
            ApiError: such as `payload-too-large`. Unreachable: it may be stored.
            OSError: it cannot be read.
        """
        source = Source.of(Path(file) if isinstance(file, str) else file, name or "")
        return RemoteFile(self, self.connection.run(flows.upload(self.rules, source)))

    def file(self, file_id: str) -> RemoteFile:
        """A file by its id. Raises ApiError: `file-not-found` (404), `file-gone` (410); Unreachable."""
        return RemoteFile(self, self.connection.run(get_file(self.rules, file_id)))

    def delete_file(self, file_id: str) -> None:
        """Remove a file: it can be in no further input. Jobs that have it keep it. Raises ApiError, Unreachable."""
        self.connection.run(flows.delete(self.rules, file_path(file_id)))

    def download(self, file: str | Json, to: str | Path = ".") -> Path:
        """Fetch a file, piece by piece; after a cut it goes on where it was. What is at `to` is the whole file or what was there before.

        Args:
            file: a `RemoteFile`, or its JSON; its id; or its URL, also one that somebody else signed. Another server gets no API key.
            to: a path, whose file is replaced if there is one; or a folder: there it gets its own name, or `name-2` if that is taken.

        Returns:
            The path.

        Raises:
            ApiError, Unreachable
            DownloadBroken: the bytes that came are not those of the file.
            OSError: it cannot be written.
        """
        found = self.file(file) if isinstance(file, str) and file.startswith("file_") else file
        wanted = Wanted(absolute(self.url, found)) if isinstance(found, str) else Wanted.of(found)
        path = target(found, Path(to))
        with Saving(path) as saving:
            for piece in self.connection.iterate(fetch(self.rules, wanted)):
                saving.write(piece)
        return path

    def models(self) -> list[Json]:
        """The models of the server: name, queue, schemas, limits. Raises ApiError, Unreachable."""
        return list(self.request("GET", "/models")["models"])

    def model(self, name: str) -> Json:
        """One model. Raises ApiError: `unknown-model`; Unreachable."""
        return dict(self.request("GET", flows.model_path(name)))

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Any other route: the JSON of its answer, None when it has no body. It may be sent more than once.

        Args:
            method: such as `GET`.
            path: after `/api/v1`, with its query.
            body: sent as JSON; None = without one.

        Raises:
            ApiError, Unreachable
        """
        return self.connection.run(flows.call_json(self.rules, flows.ask(method, path, body)))
