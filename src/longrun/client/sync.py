"""The client for ordinary code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, Unpack

from longrun.client.caller import AsyncCaller, Caller
from longrun.client.http.address import server_key, server_url
from longrun.client.http.body import Lines, Source
from longrun.client.http.connection import AsyncConnection, Connection
from longrun.client.http.retry import Rules
from longrun.client.http.steps import Json
from longrun.client.map import MapOptions, map_inputs
from longrun.client.protocol.batches import line_of, submit_batch
from longrun.client.protocol.calls import delete, get, listing, path_of
from longrun.client.protocol.options import BatchOptions, Options
from longrun.client.protocol.submit import submit, upload
from longrun.client.resources.batches import RemoteBatch
from longrun.client.resources.files import RemoteFile, download
from longrun.client.resources.jobs import RemoteJob


class Client:
    """Calls a Longrun server. One client serves all threads of a program.

    Every request is safe to repeat, so it is repeated while the server is away or too busy: on broken connections and 429, 502, 503, 504,
    with growing random pauses, and not before a Retry-After is over.

    Args:
        url: of the server. Default: LONGRUN_URL from the environment or `.env`, else this machine at LONGRUN_PORT or 8000.
        key: API key. Default: LONGRUN_KEY; "" = none.
        retry_for: seconds for which a call is tried again before its error is raised; 0 = once only.
        refused_for: the same while nothing listens at the address. Default: `retry_for`.
        on_retry: called with a text, once a call, when it is tried again.

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
        rules = Rules(self.url, retry_for, retry_for if refused_for is None else refused_for, on_retry or (lambda _: None))
        self._key = server_key(key)
        self._caller = Caller(rules, Connection(self.url, self._key))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a later call opens them again."""
        self._caller.connection.close()

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
        return RemoteJob(self._caller, self._caller.run(submit, model, input, options))

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
        caller = AsyncCaller(self._caller.rules, AsyncConnection(self.url, self._key))
        return map_inputs(caller, model, inputs, MapOptions(concurrency, progress, return_exceptions), options)

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
            lines.add(self._caller.run(line_of, each))
        return RemoteBatch(self._caller, self._caller.run(submit_batch, model, lines, options))

    def get_batch(self, batch_id: str) -> RemoteBatch:
        """A batch by its id. Raises ApiError: `batch-not-found` (404), `batch-gone` (410); Unreachable."""
        return RemoteBatch(self._caller, self._caller.run(get, path_of("batches", batch_id)))

    def job(self, job_id: str) -> RemoteJob:
        """A job by its id. Raises ApiError: `job-not-found` (404), `job-gone` (410); Unreachable."""
        return RemoteJob(self._caller, self._caller.run(get, path_of("jobs", job_id)))

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
        return (RemoteJob(self._caller, body) for body in self.listing("/jobs", filters, limit))

    def listing(self, path: str, filters: Mapping[str, str | None], limit: int | None = None) -> Iterator[Json]:
        """The jobs of a listing, `/jobs` or `/dead-letters`, as JSON. Raises ApiError, Unreachable."""
        return self._caller.iterate(listing, path, filters, limit)

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
        return RemoteFile(self._caller, self._caller.run(upload, source))

    def file(self, file_id: str) -> RemoteFile:
        """A file by its id. Raises ApiError: `file-not-found` (404), `file-gone` (410); Unreachable."""
        return RemoteFile(self._caller, self._caller.run(get, path_of("files", file_id)))

    def delete_file(self, file_id: str) -> None:
        """Remove a file: it can be in no further input. Jobs that have it keep it. Raises ApiError, Unreachable."""
        self._caller.run(delete, path_of("files", file_id))

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
        return download(self._caller, file, to)

    def models(self) -> list[Json]:
        """The models of the server: name, queue, schemas, limits. Raises ApiError, Unreachable."""
        return list(self.request("GET", "/models")["models"])

    def model(self, name: str) -> Json:
        """One model. Raises ApiError: `unknown-model`; Unreachable."""
        return dict(self.request("GET", path_of("models", name)))

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Any other route: the JSON of its answer, None when it has no body. It may be sent more than once.

        Args:
            method: such as `GET`.
            path: after `/api/v1`, with its query.
            body: sent as JSON; None = without one.

        Raises:
            ApiError, Unreachable
        """
        return self._caller.request(method, path, body)
