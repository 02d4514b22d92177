"""`map`: a job for each of many inputs, so many at a time, results in the order of the inputs."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Iterable, Iterator, Sized
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from longrun.client.snapshot import Options

if TYPE_CHECKING:
    from rich.progress import Progress

    from longrun.client.aio import AsyncClient

_AHEAD = 4  #: inputs read ahead, as a multiple of the jobs at once: so many results may wait for a slow one before them
_NAMED = 5  #: ids named when something ends the map


@dataclass(frozen=True, slots=True)
class Manner:
    """How a map is done.

    Raises:
        ValueError: nothing could run.
    """

    concurrency: int
    progress: bool
    return_exceptions: bool

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, not {self.concurrency}")


class _Pending(Protocol):
    def done(self) -> bool: ...


def wants_more(pending: deque[Any], manner: Manner) -> bool:
    """Whether another input is to be read now: not while a result can be given, nor when enough are read."""
    first: _Pending | None = pending[0] if pending else None
    return len(pending) < manner.concurrency * _AHEAD and not (first is not None and first.done())


class _Runs:
    """The jobs of a map, at most so many at once."""

    def __init__(self, client: AsyncClient, model: str, options: Options, manner: Manner, bar: Bar) -> None:
        self._client, self._model, self._options, self._bar = client, model, options, bar
        self._free = asyncio.Semaphore(manner.concurrency)
        self._catches = manner.return_exceptions
        self._count = 0
        self._under_way: dict[str, None] = {}

    def next(self, input: Any) -> Coroutine[Any, Any, Any]:
        """Run the next input: its output, or its exception where these are wanted."""
        options = self._options
        if key := options.get("idempotency_key"):
            options = {**options, "idempotency_key": f"{key}-{self._count}"}
        self._count += 1
        return self._run(input, options)

    async def _run(self, input: Any, options: Options) -> Any:
        async with self._free:
            try:
                job = await self._client.submit(self._model, input, **options)
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

    def tell_what_goes_on(self, error: BaseException) -> None:
        """Say which jobs go on although the map has ended: as a note of the exception, or beside the bar after a `break`."""
        ids = list(self._under_way)
        if not ids:
            return
        told = f"{len(ids)} submitted jobs go on, nothing was canceled: {', '.join(ids[:_NAMED])}{', …' if len(ids) > _NAMED else ''}"
        if isinstance(error, GeneratorExit):
            self._bar.say(told)
        else:
            error.add_note(told)


class Bar:
    """A progress bar on stderr, if it is wanted, stderr is a terminal, and rich is installed; otherwise nothing."""

    def __init__(self, title: str, inputs: object, *, wanted: bool) -> None:
        self._progress: Progress | None = None
        self._failed = 0
        if not (wanted and sys.stderr.isatty()):
            return
        try:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
            from rich.progress import TimeRemainingColumn as LeftColumn
        except ImportError:
            return

        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
        times = (TimeElapsedColumn(), LeftColumn(compact=True), TextColumn("{task.fields[failed]}"))
        self._progress = Progress(*columns, *times, console=Console(stderr=True))
        self._progress.add_task(title, total=len(inputs) if isinstance(inputs, Sized) else None, failed="")
        self._progress.start()

    @property
    def shown(self) -> bool:
        """Whether there is one."""
        return self._progress is not None

    def advance(self, *, failed: bool = False) -> None:
        """One job has ended."""
        self._failed += failed
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], advance=1, failed=f"{self._failed} failed" if self._failed else "")

    def reach(self, done: int, failed: int) -> None:
        """So many jobs have ended, so many of them without an output."""
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=done, failed=f"{failed} failed" if failed else "")

    def say(self, text: str) -> None:
        """A line above the bar."""
        if self._progress is not None:
            self._progress.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._progress is not None:
            self._progress.stop()


async def map_inputs_async(
    client: AsyncClient, model: str, inputs: Iterable[Any] | AsyncIterable[Any], manner: Manner, options: Options
) -> AsyncIterator[Any]:
    """See `AsyncClient.map`."""
    bar = Bar(model, inputs, wanted=manner.progress)
    runs = _Runs(client, model, options, manner, bar)
    source = each_input(inputs)
    pending: deque[asyncio.Task[Any]] = deque()
    more = True
    try:
        while more or pending:
            while more and wants_more(pending, manner):
                try:
                    pending.append(asyncio.create_task(runs.next(await anext(source))))
                except StopAsyncIteration:
                    more = False
            if pending:
                yield await pending[0]
                pending.popleft()
    except BaseException as error:
        runs.tell_what_goes_on(error)
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


def map_inputs(client: AsyncClient, model: str, inputs: Iterable[Any], manner: Manner, options: Options) -> Iterator[Any]:
    """See `Client.map`: the jobs are minded on a thread with an event loop; inputs are read, and results given, on the caller's."""
    bar = Bar(model, inputs, wanted=manner.progress)
    source = iter(inputs)
    pending: deque[Future[Any]] = deque()
    more = True
    with _Loop(client, bar) as loop:
        runs = _Runs(client, model, options, manner, bar)
        try:
            while more or pending:
                while more and wants_more(pending, manner):
                    try:
                        pending.append(loop.start(runs.next(next(source))))
                    except StopIteration:
                        more = False
                if pending:
                    yield pending[0].result()
                    pending.popleft()
        except BaseException as error:
            runs.tell_what_goes_on(error)
            raise


class _Loop:
    """An event loop on a thread of its own, with the client that lives in it; both end with the block, whatever is under way."""

    def __init__(self, client: AsyncClient, bar: Bar) -> None:
        self._client, self._bar = client, bar
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="longrun map", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def start(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Begin this."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
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
        await self._client.close()
