"""Batches on a server, for ordinary code and for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any, Protocol, Self

from longrun.client.batch_flows import BatchItem, await_batch, batch_path, item_of, results
from longrun.client.connection import AsyncConnection, Connection
from longrun.client.files import Json, with_files
from longrun.client.flows import ask, call_json
from longrun.client.patience import Rules

#: Makes a file of an output, with what can be done with it, from its JSON.
FileOf = Callable[[Json], Any]


class _Client(Protocol):
    """What a batch needs of its client."""

    rules: Rules
    connection: Connection


class _AsyncClient(Protocol):
    rules: Rules
    connection: AsyncConnection


class BatchSnapshot:
    """A batch as the server last showed it.

    Attributes:
        body: the JSON as it came.
    """

    def __init__(self, body: Json) -> None:
        self.body = body

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.body.get('model')} {self.status}>"

    @property
    def id(self) -> str:
        """`batch_` and 32 hexadecimal digits."""
        return str(self.body["id"])

    @property
    def status(self) -> str:
        """`accepting`, `running`, `canceling`, `completed` or `canceled`. Later servers may have more: go by `terminal`."""
        return str(self.body["status"])

    @property
    def terminal(self) -> bool:
        """Whether all items have ended."""
        return bool(self.body["terminal"])

    @property
    def counts(self) -> dict[str, int]:
        """Items: `total`, `pending`, `succeeded`, `failed`, `canceled`, `expired`."""
        return dict(self.body["counts"])

    @property
    def progress(self) -> float:
        """Share of the items that have ended, 0 to 1."""
        return float(self.body["progress"])


class RemoteBatch(BatchSnapshot):
    """A batch on a server: what was last seen of it, and what can be done with it."""

    def __init__(self, client: _Client, body: Json, file_of: FileOf) -> None:
        super().__init__(body)
        self._client, self._file_of = client, file_of

    def refresh(self) -> Self:
        """Ask for the batch as it is now, and return it. Raises ApiError: `batch-not-found` (404), `batch-gone` (410); Unreachable."""
        self.body = self._client.connection.run(call_json(self._client.rules, ask("GET", batch_path(self.id))))
        return self

    def wait(self, timeout: float | None = None, progress: Callable[[RemoteBatch], object] | None = None) -> Self:
        """Wait until all items have ended, however they end, and return the batch.

        Args:
            timeout: seconds; None = as long as it takes.
            progress: called with the batch whenever it has moved on, twice a second at most.

        Raises:
            TimeoutError: it has not ended by then. It goes on.
            ApiError, Unreachable
        """
        flow = await_batch(self._client.rules, self.body, timeout, changes=progress is not None)
        steps = self._client.connection.iterate(flow)
        try:
            while True:
                self.body = next(steps)
                if progress is not None:
                    progress(self)
        except StopIteration as end:
            self.body = end.value
        return self

    def results(self, timeout: float | None = None, *, partial: bool = False) -> Iterator[BatchItem]:
        """What became of each input, in their order; read as they are asked for. Waits for the end of the batch before.

        Args:
            timeout: seconds to wait for the end.
            partial: do not wait: items that have not ended come with the status that they have.

        Raises:
            TimeoutError, ApiError, Unreachable
        """
        if not partial:
            self.wait(timeout)
        for row in self._client.connection.iterate(results(self._client.rules, self.body, partial=partial)):
            yield item_of(row, with_files(row.get("output"), self._file_of))

    def cancel(self) -> Self:
        """Ask the batch to stop, and return it. May be repeated. Raises ApiError, Unreachable."""
        self.body = self._client.connection.run(call_json(self._client.rules, ask("POST", batch_path(self.id, "/cancel"))))
        return self


class AsyncRemoteBatch(BatchSnapshot):
    """A batch on a server; see `RemoteBatch`, whose verbs it has."""

    def __init__(self, client: _AsyncClient, body: Json, file_of: FileOf) -> None:
        super().__init__(body)
        self._client, self._file_of = client, file_of

    async def refresh(self) -> Self:
        """See `RemoteBatch.refresh`."""
        self.body = await self._client.connection.run(call_json(self._client.rules, ask("GET", batch_path(self.id))))
        return self

    async def wait(self, timeout: float | None = None, progress: Callable[[AsyncRemoteBatch], object] | None = None) -> Self:
        """See `RemoteBatch.wait`."""
        flow = await_batch(self._client.rules, self.body, timeout, changes=True)
        async with aclosing(self._client.connection.iterate(flow)) as steps:
            async for self.body in steps:
                if progress is not None:
                    progress(self)
        return self

    async def results(self, timeout: float | None = None, *, partial: bool = False) -> AsyncIterator[BatchItem]:
        """See `RemoteBatch.results`."""
        if not partial:
            await self.wait(timeout)
        async with aclosing(self._client.connection.iterate(results(self._client.rules, self.body, partial=partial))) as rows:
            async for row in rows:
                yield item_of(row, with_files(row.get("output"), self._file_of))

    async def cancel(self) -> Self:
        """See `RemoteBatch.cancel`."""
        self.body = await self._client.connection.run(call_json(self._client.rules, ask("POST", batch_path(self.id, "/cancel"))))
        return self
