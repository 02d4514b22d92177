"""The client for asyncio: the same verbs as `sync`, with `await`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from longrun.client import flows
from longrun.client.address import server_key, server_url
from longrun.client.arrays import ACCEPT, to_array
from longrun.client.batches import get_batch, line_of, submit_batch
from longrun.client.body import Lines, Source
from longrun.client.connection import AsyncConnection
from longrun.client.events import Event, Pieces
from longrun.client.fetching import Wanted, fetch, get_file
from longrun.client.files import absolute, file_path, target, with_files
from longrun.client.following import follow
from longrun.client.mapping import Manner, each_input, map_inputs_async
from longrun.client.patience import Rules
from longrun.client.remote_batches import AsyncRemoteBatch
from longrun.client.remote_files import AsyncRemoteFile
from longrun.client.saving import Saving
from longrun.client.snapshot import BatchOptions, Options, Snapshot
from longrun.client.wire import Json

_IN_A_ROW = 100  #: inputs of a batch that are read before others have their turn


class AsyncRemoteJob(Snapshot):
    """A job on a server; see `RemoteJob`, whose verbs it has."""

    def __init__(self, client: AsyncClient, body: Json) -> None:
        super().__init__(body)
        self._client = client

    async def refresh(self, wait: float = 0.0) -> Self:
        """See `RemoteJob.refresh`."""
        rules = self._client.rules
        asked = flows.await_change(rules, self.id, self.body["version"], wait) if wait else flows.get_job(rules, self.id)
        self.body = await self._client.connection.run(asked)
        return self

    async def wait(self, timeout: float | None = None) -> Self:
        """See `RemoteJob.wait`."""
        if not self.terminal:
            self.body = await self._client.connection.run(flows.await_end(self._client.rules, self.id, timeout))
        return self

    async def result(self, timeout: float | None = None, *, as_array: bool = False) -> Any:
        """See `RemoteJob.result`."""
        (await self.wait(timeout)).check()
        asked = flows.result(self._client.rules, self.body, ACCEPT if as_array else "")
        output = await self._client.connection.run(asked)
        return to_array(output) if as_array else self._with_files(output)

    def _with_files(self, value: Any) -> Any:
        return with_files(value, lambda file: AsyncRemoteFile(self._client, file))

    async def events(self, after: int = 0) -> AsyncIterator[Event]:
        """See `RemoteJob.events`."""
        async with aclosing(self._client.connection.iterate(follow(self._client.rules, self.id, after))) as events:
            async for event in events:
                self.see(event)
                yield event

    async def stream(self, on_restart: Callable[[int], object] | None = None) -> AsyncIterator[Any]:
        """See `RemoteJob.stream`."""
        pieces = Pieces((await self.refresh()).attempt, on_restart)
        async for event in self.events():
            for piece in pieces.take(event):
                yield self._with_files(piece)
        (await self.wait()).check()

    async def cancel(self) -> Self:
        """See `RemoteJob.cancel`."""
        self.body = await self._client.request("POST", flows.job_path(self.id, "/cancel"))
        return self

    async def retry(self) -> AsyncRemoteJob:
        """See `RemoteJob.retry`."""
        return AsyncRemoteJob(self._client, await self._client.request("POST", flows.job_path(self.id, "/retry")))

    async def attempts(self) -> list[Json]:
        """See `RemoteJob.attempts`."""
        return list((await self._client.request("GET", flows.job_path(self.id, "/attempts")))["attempts"])

    async def delete(self) -> None:
        """See `RemoteJob.delete`."""
        await self._client.connection.run(flows.delete(self._client.rules, flows.job_path(self.id)))


class AsyncClient:
    """Calls a Longrun server from asyncio; see `Client`, whose arguments and verbs it has."""

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
        self.connection = AsyncConnection(self.url, self._key)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; a later call opens them again."""
        await self.connection.close()

    async def submit(self, model: str, input: Any = None, /, **options: Unpack[Options]) -> AsyncRemoteJob:
        """See `Client.submit`."""
        return AsyncRemoteJob(self, await self.connection.run(flows.submit(self.rules, model, input, options)))

    async def run(
        self, model: str, input: Any = None, /, *, timeout: float | None = None, as_array: bool = False, **options: Unpack[Options]
    ) -> Any:
        """See `Client.run`."""
        return await (await self.submit(model, input, **options)).result(timeout, as_array=as_array)

    def map(
        self,
        model: str,
        inputs: Iterable[Any] | AsyncIterable[Any],
        /,
        *,
        concurrency: int = 64,
        progress: bool = False,
        return_exceptions: bool = False,
        **options: Unpack[Options],
    ) -> AsyncIterator[Any]:
        """See `Client.map`; `inputs` may be asynchronous."""
        return map_inputs_async(self, model, inputs, Manner(concurrency, progress, return_exceptions), options)

    async def batch(self, model: str, inputs: Iterable[Any] | AsyncIterable[Any], /, **options: Unpack[BatchOptions]) -> AsyncRemoteBatch:
        """See `Client.batch`; `inputs` may be asynchronous."""
        lines = Lines()
        async for each in each_input(inputs):
            lines.add(await self.connection.run(line_of(self.rules, each)))
            if lines.count % _IN_A_ROW == 0:
                await asyncio.sleep(0)  # inputs that are there already would keep everything else waiting
        return AsyncRemoteBatch(self, await self.connection.run(submit_batch(self.rules, model, lines, options)))

    async def get_batch(self, batch_id: str) -> AsyncRemoteBatch:
        """See `Client.get_batch`."""
        return AsyncRemoteBatch(self, await self.connection.run(get_batch(self.rules, batch_id)))

    async def job(self, job_id: str) -> AsyncRemoteJob:
        """See `Client.job`."""
        return AsyncRemoteJob(self, await self.connection.run(flows.get_job(self.rules, job_id)))

    async def jobs(
        self,
        *,
        model: str | None = None,
        status: str | None = None,
        tag: str | None = None,
        created_after: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[AsyncRemoteJob]:
        """See `Client.jobs`."""
        filters = {"model": model, "status": status, "tag": tag, "created_after": created_after}
        async for body in self.listing("/jobs", filters, limit):
            yield AsyncRemoteJob(self, body)

    def listing(self, path: str, filters: Mapping[str, str | None], limit: int | None = None) -> AsyncIterator[Json]:
        """See `Client.listing`."""
        return self.connection.iterate(flows.listing(self.rules, path, filters, limit))

    async def upload(self, file: Any, name: str | None = None) -> AsyncRemoteFile:
        """See `Client.upload`."""
        source = Source.of(Path(file) if isinstance(file, str) else file, name or "")
        return AsyncRemoteFile(self, await self.connection.run(flows.upload(self.rules, source)))

    async def file(self, file_id: str) -> AsyncRemoteFile:
        """See `Client.file`."""
        return AsyncRemoteFile(self, await self.connection.run(get_file(self.rules, file_id)))

    async def delete_file(self, file_id: str) -> None:
        """See `Client.delete_file`."""
        await self.connection.run(flows.delete(self.rules, file_path(file_id)))

    async def download(self, file: str | Json, to: str | Path = ".") -> Path:
        """See `Client.download`."""
        found = await self.file(file) if isinstance(file, str) and file.startswith("file_") else file
        wanted = Wanted(absolute(self.url, found)) if isinstance(found, str) else Wanted.of(found)
        path = await asyncio.to_thread(target, found, Path(to))
        with Saving(path) as saving:
            async with aclosing(self.connection.iterate(fetch(self.rules, wanted))) as pieces:
                async for piece in pieces:
                    await asyncio.to_thread(saving.write, piece)
        return path

    async def models(self) -> list[Json]:
        """See `Client.models`."""
        return list((await self.request("GET", "/models"))["models"])

    async def model(self, name: str) -> Json:
        """See `Client.model`."""
        return dict(await self.request("GET", flows.model_path(name)))

    async def request(self, method: str, path: str, body: Any = None) -> Any:
        """See `Client.request`."""
        return await self.connection.run(flows.call_json(self.rules, flows.ask(method, path, body)))
