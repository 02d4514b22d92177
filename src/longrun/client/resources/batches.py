"""Batches on a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from dataclasses import replace
from typing import Any, Self

from longrun.client.caller import AsyncCaller, Caller
from longrun.client.progress_bar import ProgressBar
from longrun.client.protocol.batches import BatchItem, results
from longrun.client.protocol.calls import get, path_of
from longrun.client.protocol.files import with_files
from longrun.client.protocol.wait import await_end
from longrun.client.resources.files import AsyncRemoteFile, RemoteFile
from longrun.client.resources.jobs import AsyncRemoteJob, RemoteJob
from longrun.client.resources.views import BatchView


class RemoteBatch(BatchView[Caller]):
    """A batch on a server, as it was last shown, and what can be done with it. Safe to use from several threads."""

    def refresh(self) -> Self:
        """Ask for the batch as it is now, and return it. Raises ApiError: `batch-gone` (410) or another problem; Unreachable."""
        self.body = self._caller.run(get, path_of("batches", self.id))
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
            with closing(ProgressBar(self.model, range(self.counts["total"]), wanted=progress)) as bar:
                self._caller.run(await_end, self.awaited(bar), timeout)
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
        for item in self._caller.iterate(results, self.id, self.counts["total"], partial=partial):
            yield replace(item, output=with_files(item.output, lambda file: RemoteFile(self._caller, file)))

    def outputs(self, timeout: float | None = None) -> Iterator[Any]:
        """Wait for the end, and give the outputs in the order of the inputs, with a `RemoteFile` where a file is.

        Raises:
            JobFailed: of the first input, in their order, whose job ended without one.
            TimeoutError, ApiError, Unreachable: as with `wait`; ApiError with code `job-gone` too when an output is not kept any longer.
        """
        for item in self.results(timeout):
            yield item.output if item.succeeded else RemoteJob(self._caller, self._caller.run(get, path_of("jobs", item.id))).result()

    def cancel(self) -> Self:
        """Ask its jobs to stop, and return it: canceling, or as it has ended. May be repeated. Raises ApiError, Unreachable."""
        self.body = self._caller.request("POST", path_of("batches", self.id, "/cancel"))
        return self


class AsyncRemoteBatch(BatchView[AsyncCaller]):
    """A batch on a server; see `RemoteBatch`, whose methods it has."""

    async def refresh(self) -> Self:
        """See `RemoteBatch.refresh`."""
        self.body = await self._caller.run(get, path_of("batches", self.id))
        return self

    async def wait(self, timeout: float | None = None, *, progress: bool = False) -> Self:
        """See `RemoteBatch.wait`."""
        if not self.terminal:
            with closing(ProgressBar(self.model, range(self.counts["total"]), wanted=progress)) as bar:
                await self._caller.run(await_end, self.awaited(bar), timeout)
        return self

    async def results(self, timeout: float | None = None, *, partial: bool = False) -> AsyncIterator[BatchItem]:
        """See `RemoteBatch.results`."""
        if not partial:
            await self.wait(timeout)
        async with aclosing(self._caller.iterate(results, self.id, self.counts["total"], partial=partial)) as items:
            async for item in items:
                yield replace(item, output=with_files(item.output, lambda file: AsyncRemoteFile(self._caller, file)))

    async def outputs(self, timeout: float | None = None) -> AsyncIterator[Any]:
        """See `RemoteBatch.outputs`."""
        async for item in self.results(timeout):
            if item.succeeded:
                yield item.output
            else:
                yield await AsyncRemoteJob(self._caller, await self._caller.run(get, path_of("jobs", item.id))).result()

    async def cancel(self) -> Self:
        """See `RemoteBatch.cancel`."""
        self.body = await self._caller.request("POST", path_of("batches", self.id, "/cancel"))
        return self
