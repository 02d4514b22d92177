"""`map`: a job for each of many inputs, a limited number at a time, with results in the order of the inputs."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Self

from longrun.client.caller import AsyncCaller
from longrun.client.progress_bar import ProgressBar
from longrun.client.protocol.options import Options
from longrun.client.protocol.submit import submit
from longrun.client.resources.jobs import AsyncRemoteJob

_AHEAD = 4  #: inputs read ahead, as a multiple of the jobs at once: so many results may wait for a slow one before them
_NAMED = 5  #: ids named when something ends the map


@dataclass(frozen=True, slots=True)
class MapOptions:
    """The options of a map. Raises ValueError: `concurrency` is under 1."""

    concurrency: int
    progress: bool
    return_exceptions: bool

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, not {self.concurrency}")


def wants_more(pending: deque[Future[Any]] | deque[asyncio.Task[Any]], how: MapOptions) -> bool:
    """Whether another input is to be read now: not while a result can be given, nor when enough have been read."""
    return len(pending) < how.concurrency * _AHEAD and not (pending and pending[0].done())


class _Runs:
    """Runs the jobs of a map, at most `concurrency` at once."""

    def __init__(self, caller: AsyncCaller, model: str, options: Options, how: MapOptions, bar: ProgressBar) -> None:
        self._caller, self._model, self._options, self._bar = caller, model, options, bar
        self._free = asyncio.Semaphore(how.concurrency)
        self._catches = how.return_exceptions
        self._count = 0
        self._under_way: dict[str, None] = {}

    def next(self, input: Any) -> Coroutine[Any, Any, Any]:
        """A job for the next input: its output, or with `return_exceptions` its exception."""
        options = self._options
        if key := options.get("idempotency_key"):
            options = {**options, "idempotency_key": f"{key}-{self._count}"}
        self._count += 1
        return self._run(input, options)

    async def _run(self, input: Any, options: Options) -> Any:
        async with self._free:
            try:
                job = AsyncRemoteJob(self._caller, await self._caller.run(submit, self._model, input, options))
                self._under_way[job.id] = None
                await job.wait()
                del self._under_way[job.id]
                result = await job.result()
            except Exception as error:
                self._bar.advance(failed=True)
                if self._catches:
                    return error
                raise
        self._bar.advance()
        return result

    def name_what_goes_on(self, error: BaseException) -> None:
        """Say which jobs go on although the map has ended: as a note of the exception, or beside the bar after a `break`."""
        ids = list(self._under_way)
        if not ids:
            return
        text = f"{len(ids)} submitted jobs go on, nothing was canceled: {', '.join(ids[:_NAMED])}{', …' if len(ids) > _NAMED else ''}"
        if isinstance(error, GeneratorExit):
            self._bar.say(text)
        else:
            error.add_note(text)


async def map_inputs_async(
    caller: AsyncCaller, model: str, inputs: Iterable[Any] | AsyncIterable[Any], how: MapOptions, options: Options
) -> AsyncIterator[Any]:
    """See `AsyncClient.map`."""
    bar = ProgressBar(model, inputs, wanted=how.progress)
    runs = _Runs(caller, model, options, how, bar)
    source = each_input(inputs)
    pending: deque[asyncio.Task[Any]] = deque()
    more = True
    try:
        while more or pending:
            while more and wants_more(pending, how):
                try:
                    pending.append(asyncio.create_task(runs.next(await anext(source))))
                except StopAsyncIteration:
                    more = False
            if pending:
                yield await pending[0]
                pending.popleft()
    except BaseException as error:
        runs.name_what_goes_on(error)
        raise
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        bar.close()


def each_input(inputs: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[Any]:
    """Inputs of either kind, as they come."""
    return aiter(inputs) if isinstance(inputs, AsyncIterable) else _each(inputs)


async def _each(inputs: Iterable[Any]) -> AsyncIterator[Any]:
    for each in inputs:
        yield each


def map_inputs(caller: AsyncCaller, model: str, inputs: Iterable[Any], how: MapOptions, options: Options) -> Iterator[Any]:
    """See `Client.map`: jobs are submitted and awaited on a thread with an event loop; inputs are read, and results given, on this one."""
    bar = ProgressBar(model, inputs, wanted=how.progress)
    source = iter(inputs)
    pending: deque[Future[Any]] = deque()
    more = True
    with _Loop(caller, bar) as loop:
        runs = _Runs(caller, model, options, how, bar)
        try:
            while more or pending:
                while more and wants_more(pending, how):
                    try:
                        pending.append(loop.start(runs.next(next(source))))
                    except StopIteration:
                        more = False
                if pending:
                    yield pending[0].result()
                    pending.popleft()
        except BaseException as error:
            runs.name_what_goes_on(error)
            raise


class _Loop:
    """An event loop on a thread of its own; ends with the block, with whatever still runs on it and the connections opened there."""

    def __init__(self, caller: AsyncCaller, bar: ProgressBar) -> None:
        self._caller, self._bar = caller, bar
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="longrun map", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def start(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Start a coroutine on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def __exit__(self, *_: object) -> None:
        self.start(self._end()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._bar.close()

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._caller.connection.close()
