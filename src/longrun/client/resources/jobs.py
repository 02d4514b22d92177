"""Jobs on a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any, Self

from longrun.client.arrays import ACCEPT, to_array
from longrun.client.caller import AsyncCaller, Caller
from longrun.client.http.steps import Json
from longrun.client.protocol.calls import delete, path_of
from longrun.client.protocol.events import Event, Pieces
from longrun.client.protocol.files import with_files
from longrun.client.protocol.follow import follow
from longrun.client.protocol.steps import signal, tree
from longrun.client.protocol.wait import Awaited, await_end, refresh, result
from longrun.client.resources.files import AsyncRemoteFile, RemoteFile
from longrun.client.resources.views import JobView


class RemoteJob(JobView[Caller]):
    """A job on a server, as it was last shown, and what can be done with it. Safe to use from several threads."""

    def refresh(self, wait: float = 0.0) -> Self:
        """Ask for the job as it is now, and return it.

        Args:
            wait: seconds to wait for a change of its status or progress; 20 at most, 0 = none.

        Raises:
            ApiError: `job-not-found` (404), `job-gone` (410) or another problem.
            Unreachable
        """
        self.body = self._caller.run(refresh, self.body, wait)
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
            self.body = self._caller.run(await_end, Awaited(path_of("jobs", self.id), f"job {self.id}"), timeout)
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
        output = self._caller.run(result, self.body, ACCEPT if as_array else "")
        return to_array(output) if as_array else self._with_files(output)

    def _with_files(self, value: Any) -> Any:
        return with_files(value, lambda file: RemoteFile(self._caller, file))

    def events(self, after: int = 0) -> Iterator[Event]:
        """The job's events as they come, each once and in order, until it has ended. Broken connections are resumed.

        Args:
            after: seq of the last event that is known already.

        Raises:
            ApiError, Unreachable: as with `wait`.
        """
        for event in self._caller.iterate(follow, self.id, after):
            self.see(event)
            yield event

    def stream(self, on_restart: Callable[[int], object] | None = None, *, steps: bool = False) -> Iterator[Any]:
        """The values that the model yields, as they come; for a model that streams text, pieces of it.

        Only values of the current attempt, and none of them twice. When a later attempt begins after some were given, those do not count
        any longer.

        Args:
            on_restart: called with the number of the attempt that begins anew: forget what came before. Without it StreamBroken is raised,
                and `stream()` can be called again.
            steps: give also what its steps yield, where the model lets that through, each value as a `StepPiece`. Of these none is
                given twice, and all count.

        Raises:
            StreamBroken: see above; or pieces are no longer kept by the server.
            JobFailed: the job ended without an output.
            ApiError, Unreachable: as with `wait`.
        """
        pieces = Pieces(self.refresh().attempt, on_restart, steps=steps)
        for event in self.events():
            yield from map(self._piece, pieces.take(event))
        self.wait().check()

    def cancel(self) -> Self:
        """Ask the job to stop, and return it: canceled, canceling, or as it has ended. May be repeated. Raises ApiError, Unreachable."""
        self.body = self._caller.request("POST", path_of("jobs", self.id, "/cancel"))
        return self

    def retry(self) -> RemoteJob:
        """A new job with the same input; asked twice, the same new job.

        Raises:
            ApiError: `not-retryable`: it has not failed, nor was it canceled, nor has it expired.
            Unreachable
        """
        return RemoteJob(self._caller, self._caller.request("POST", path_of("jobs", self.id, "/retry")))

    def tree(self, *, deep: bool = False) -> Json:
        """The job and what it has made: jobs, local steps, sleeps and waits, in `steps`, oldest first. Raises ApiError, Unreachable.

        Args:
            deep: also what those jobs have made, in `steps` of each, and so on.
        """
        return self._caller.run(tree, self.id, deep)

    def signal(self, name: str, value: Any = None) -> None:
        """Answer what the job asks, or will ask, under a name. The same value may be given again.

        Args:
            name: as in `asks`.
            value: what JSON can hold, and what the `schema` there says.

        Raises:
            ApiError: `already-answered`, `wait-timeout`, `job-ended`, `validation-failed` or another problem.
            Unreachable
        """
        self._caller.run(signal, self.id, name, value)

    def attempts(self) -> list[Json]:
        """Who ran it, when, and how each attempt ended: the latest hundred. Raises ApiError, Unreachable."""
        return list(self._caller.request("GET", path_of("jobs", self.id, "/attempts"))["attempts"])

    def delete(self) -> None:
        """Erase an ended job: input, output, events. Raises ApiError (`not-finished` when it has not ended), Unreachable."""
        self._caller.run(delete, path_of("jobs", self.id))


class AsyncRemoteJob(JobView[AsyncCaller]):
    """A job on a server; see `RemoteJob`, whose methods it has."""

    async def refresh(self, wait: float = 0.0) -> Self:
        """See `RemoteJob.refresh`."""
        self.body = await self._caller.run(refresh, self.body, wait)
        return self

    async def wait(self, timeout: float | None = None) -> Self:
        """See `RemoteJob.wait`."""
        if not self.terminal:
            self.body = await self._caller.run(await_end, Awaited(path_of("jobs", self.id), f"job {self.id}"), timeout)
        return self

    async def result(self, timeout: float | None = None, *, as_array: bool = False) -> Any:
        """See `RemoteJob.result`."""
        (await self.wait(timeout)).check()
        output = await self._caller.run(result, self.body, ACCEPT if as_array else "")
        return to_array(output) if as_array else self._with_files(output)

    def _with_files(self, value: Any) -> Any:
        return with_files(value, lambda file: AsyncRemoteFile(self._caller, file))

    async def events(self, after: int = 0) -> AsyncIterator[Event]:
        """See `RemoteJob.events`."""
        async with aclosing(self._caller.iterate(follow, self.id, after)) as events:
            async for event in events:
                self.see(event)
                yield event

    async def stream(self, on_restart: Callable[[int], object] | None = None, *, steps: bool = False) -> AsyncIterator[Any]:
        """See `RemoteJob.stream`."""
        pieces = Pieces((await self.refresh()).attempt, on_restart, steps=steps)
        async for event in self.events():
            for piece in pieces.take(event):
                yield self._piece(piece)
        (await self.wait()).check()

    async def cancel(self) -> Self:
        """See `RemoteJob.cancel`."""
        self.body = await self._caller.request("POST", path_of("jobs", self.id, "/cancel"))
        return self

    async def retry(self) -> AsyncRemoteJob:
        """See `RemoteJob.retry`."""
        return AsyncRemoteJob(self._caller, await self._caller.request("POST", path_of("jobs", self.id, "/retry")))

    async def tree(self, *, deep: bool = False) -> Json:
        """See `RemoteJob.tree`."""
        return await self._caller.run(tree, self.id, deep)

    async def signal(self, name: str, value: Any = None) -> None:
        """See `RemoteJob.signal`."""
        await self._caller.run(signal, self.id, name, value)

    async def attempts(self) -> list[Json]:
        """See `RemoteJob.attempts`."""
        return list((await self._caller.request("GET", path_of("jobs", self.id, "/attempts")))["attempts"])

    async def delete(self) -> None:
        """See `RemoteJob.delete`."""
        await self._caller.run(delete, path_of("jobs", self.id))
