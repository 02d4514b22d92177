"""The client for asyncio: the same methods as `sync`, with `await`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self, Unpack

from longrun.client.caller import AsyncCaller
from longrun.client.http.address import server_key, server_url
from longrun.client.http.body import Lines, Source
from longrun.client.http.connection import AsyncConnection
from longrun.client.http.retry import Rules
from longrun.client.http.steps import Json
from longrun.client.map import MapOptions, each_input, map_inputs_async
from longrun.client.protocol.batches import line_of, submit_batch
from longrun.client.protocol.calls import delete, get, listing, path_of
from longrun.client.protocol.options import BatchOptions, Options
from longrun.client.protocol.submit import submit, upload
from longrun.client.resources.batches import AsyncRemoteBatch
from longrun.client.resources.files import AsyncRemoteFile, async_download
from longrun.client.resources.jobs import AsyncRemoteJob

_IN_A_ROW = 100  #: inputs of a batch that are read before others have their turn


class AsyncClient:
    """Calls a Longrun server from asyncio; see `Client`, whose arguments and methods it has."""

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
        self._caller = AsyncCaller(rules, AsyncConnection(self.url, server_key(key)))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; a later call opens them again."""
        await self._caller.connection.close()

    async def submit(self, model: str, input: Any = None, /, **options: Unpack[Options]) -> AsyncRemoteJob:
        """See `Client.submit`."""
        return AsyncRemoteJob(self._caller, await self._caller.run(submit, model, input, options))

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
        return map_inputs_async(self._caller, model, inputs, MapOptions(concurrency, progress, return_exceptions), options)

    async def batch(self, model: str, inputs: Iterable[Any] | AsyncIterable[Any], /, **options: Unpack[BatchOptions]) -> AsyncRemoteBatch:
        """See `Client.batch`; `inputs` may be asynchronous."""
        lines = Lines()
        async for each in each_input(inputs):
            lines.add(await self._caller.run(line_of, each))
            if lines.count % _IN_A_ROW == 0:
                await asyncio.sleep(0)  # inputs that are there already would keep everything else waiting
        return AsyncRemoteBatch(self._caller, await self._caller.run(submit_batch, model, lines, options))

    async def get_batch(self, batch_id: str) -> AsyncRemoteBatch:
        """See `Client.get_batch`."""
        return AsyncRemoteBatch(self._caller, await self._caller.run(get, path_of("batches", batch_id)))

    async def job(self, job_id: str) -> AsyncRemoteJob:
        """See `Client.job`."""
        return AsyncRemoteJob(self._caller, await self._caller.run(get, path_of("jobs", job_id)))

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
            yield AsyncRemoteJob(self._caller, body)

    def listing(self, path: str, filters: Mapping[str, str | None], limit: int | None = None) -> AsyncIterator[Json]:
        """See `Client.listing`."""
        return self._caller.iterate(listing, path, filters, limit)

    async def upload(self, file: Any, name: str | None = None) -> AsyncRemoteFile:
        """See `Client.upload`."""
        source = Source.of(Path(file) if isinstance(file, str) else file, name or "")
        return AsyncRemoteFile(self._caller, await self._caller.run(upload, source))

    async def file(self, file_id: str) -> AsyncRemoteFile:
        """See `Client.file`."""
        return AsyncRemoteFile(self._caller, await self._caller.run(get, path_of("files", file_id)))

    async def delete_file(self, file_id: str) -> None:
        """See `Client.delete_file`."""
        await self._caller.run(delete, path_of("files", file_id))

    async def download(self, file: str | Json, to: str | Path = ".") -> Path:
        """See `Client.download`."""
        return await async_download(self._caller, file, to)

    async def models(self) -> list[Json]:
        """See `Client.models`."""
        return list((await self.request("GET", "/models"))["models"])

    async def model(self, name: str) -> Json:
        """See `Client.model`."""
        return dict(await self.request("GET", path_of("models", name)))

    async def request(self, method: str, path: str, body: Any = None) -> Any:
        """See `Client.request`."""
        return await self._caller.request(method, path, body)
