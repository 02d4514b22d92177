"""Batches on a server as the two clients hand them out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from longrun.client.batches import BatchItem, BatchSnapshot, batch_path, get_batch, results
from longrun.client.files import with_files
from longrun.client.flows import await_ended
from longrun.client.mapping import Bar
from longrun.client.remote_files import AsyncRemoteFile, RemoteFile
from longrun.client.wire import Json

if TYPE_CHECKING:
    from longrun.client.aio import AsyncClient
    from longrun.client.sync import Client


class RemoteBatch(BatchSnapshot):
    """A batch on a server: what was last seen of it, and what can be done with it. Safe to use from several threads."""

    def __init__(self, client: Client, body: Json) -> None:
        super().__init__(body)
        self._client = client

    def refresh(self) -> Self:
        """Ask for the batch as it is now, and return it. Raises ApiError: `batch-gone` (410) or another problem; Unreachable."""
        self.body = self._client.connection.run(get_batch(self._client.rules, self.id))
        return self

    def wait(self, timeout: float | None = None, *, progress: bool = False) -> Self:
        """Wait until all its jobs have ended, however they end, and return it.

        Args:
            timeout: seconds; None = as long as it takes.
            progress: show a bar on stderr if that is a terminal.

        Raises:
            TimeoutError: it has not ended by then. It goes on.
            ApiError: `batch-gone` (410) or another problem.
            Unreachable: the server has not answered for `retry_for` seconds. The batch goes on.
        """
        if not self.terminal:
            with closing(Bar(self.model, range(self.counts["total"]), wanted=progress)) as bar:
                self._client.connection.run(await_ended(self._client.rules, self.awaited(bar), timeout))
        return self

    def results(self, timeout: float | None = None, *, partial: bool = False) -> Iterator[BatchItem]:
        """Wait for the end, and give what has come of each input, in the order of the inputs. Broken connections are resumed.

        Args:
            timeout: seconds to wait for the end; None = as long as it takes.
            partial: do not wait: an input whose job has not ended has the job's status, and no output.

        Raises:
            TimeoutError, ApiError, Unreachable: as with `wait`.
        """
        if not partial:
            self.wait(timeout)
        flow = results(self._client.rules, self.id, self.counts["total"], partial=partial)
        for item in self._client.connection.iterate(flow):
            yield replace(item, output=with_files(item.output, lambda file: RemoteFile(self._client, file)))

    def outputs(self, timeout: float | None = None) -> Iterator[Any]:
        """Wait for the end, and give the outputs in the order of the inputs, with a `RemoteFile` where a file is.

        Raises:
            JobFailed: of the first input, in their order, whose job ended without one.
            TimeoutError, ApiError, Unreachable: as with `wait`; ApiError with code `job-gone` too when an output is not kept any longer.
        """
        for item in self.results(timeout):
            yield item.output if item.succeeded else self._client.job(item.id).result()

    def cancel(self) -> Self:
        """Ask its jobs to stop, and return it: canceling, or as it has ended. May be repeated. Raises ApiError, Unreachable."""
        self.body = self._client.request("POST", batch_path(self.id, "/cancel"))
        return self


class AsyncRemoteBatch(BatchSnapshot):
    """A batch on a server; see `RemoteBatch`, whose verbs it has."""

    def __init__(self, client: AsyncClient, body: Json) -> None:
        super().__init__(body)
        self._client = client

    async def refresh(self) -> Self:
        """See `RemoteBatch.refresh`."""
        self.body = await self._client.connection.run(get_batch(self._client.rules, self.id))
        return self

    async def wait(self, timeout: float | None = None, *, progress: bool = False) -> Self:
        """See `RemoteBatch.wait`."""
        if not self.terminal:
            with closing(Bar(self.model, range(self.counts["total"]), wanted=progress)) as bar:
                await self._client.connection.run(await_ended(self._client.rules, self.awaited(bar), timeout))
        return self

    async def results(self, timeout: float | None = None, *, partial: bool = False) -> AsyncIterator[BatchItem]:
        """See `RemoteBatch.results`."""
        if not partial:
            await self.wait(timeout)
        flow = results(self._client.rules, self.id, self.counts["total"], partial=partial)
        async with aclosing(self._client.connection.iterate(flow)) as items:
            async for item in items:
                yield replace(item, output=with_files(item.output, lambda file: AsyncRemoteFile(self._client, file)))

    async def outputs(self, timeout: float | None = None) -> AsyncIterator[Any]:
        """See `RemoteBatch.outputs`."""
        async for item in self.results(timeout):
            yield item.output if item.succeeded else await (await self._client.job(item.id)).result()

    async def cancel(self) -> Self:
        """See `RemoteBatch.cancel`."""
        self.body = await self._client.request("POST", batch_path(self.id, "/cancel"))
        return self
