"""What the verbs of `job` do, the same for sync and async models: in a sync port nothing in here ever suspends."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

from pydantic_core import from_json

from longrun.errors import InvalidOutput, StepFailed
from longrun.jobs.file_refs import FileRef, referenced
from longrun.models.file_schema import Attached
from longrun.models.file_types import File
from longrun.models.schema import OutputSchema
from longrun.models.steps.awaits import Await, Step, Want
from longrun.models.steps.calls import Call, check_seconds, step_of
from longrun.models.steps.flow import Flow
from longrun.models.steps.port import Port

T = TypeVar("T")
#: Calls whose inputs are made before those are sent.
_AT_ONCE = 100
#: Longest sleep and longest wait for a signal, in seconds: ten years.
LONGEST = 10 * 365 * 86_400.0
_END: Any = object()


def run_through(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that never suspends."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    work.close()
    raise RuntimeError("a step of a sync model was awaited")


def tracked(flow: Flow, what: str, make: Callable[[], Coroutine[Any, Any, T]]) -> Coroutine[Any, Any, T]:
    """A coroutine that has to be awaited: the run fails when it was not begun by its end (S39)."""

    async def begin() -> T:
        flow.not_started.pop(call, None)
        return await make()

    begin.__qualname__ = what
    call = begin()
    flow.not_started[call] = what
    return call


async def run(port: Port, call: Call) -> Any:
    """Begin a step and wait for it."""
    waiting = await _wait(port, port.flow.begin([await prepared(port, call)]))
    return await value_of(port, waiting.steps[0])


async def collect(
    port: Port, calls: Iterable[Call], *, limit: int | None = None, return_exceptions: bool = False, fail_fast: bool = False
) -> list[Any]:
    """Begin steps, `limit` of them side by side, and wait for all: their values in the order of the calls."""
    flow, source, more = port.flow, iter(calls), True
    waiting = flow.begin([], fail_fast=fail_fast)
    while more or waiting.left:
        room = _AT_ONCE if limit is None else min(_AT_ONCE, limit - waiting.left)
        steps, more = await _next(port, source, room) if more else ([], False)
        flow.extend(waiting, steps)
        if more and (limit is None or waiting.left < limit):
            await _wait(port, flow.sent(waiting))
        elif waiting.left:
            await _wait(port, flow.wait_for(waiting, spare=waiting.left - 1 if more else 0))
        if fail_fast and waiting.failed:
            flow.abandon(waiting)
            if not return_exceptions:  # the others have come to nothing because of it
                return await _values(port, [step for step in waiting.steps if step.state == "given"], return_exceptions=False)
            break
    return await _values(port, waiting.steps, return_exceptions=return_exceptions)


async def first(port: Port, calls: Iterable[Call]) -> Any:
    """Begin steps side by side; the value of the one that succeeds first. The others are stopped."""
    waiting = await _wait(port, port.flow.begin([await prepared(port, call) for call in calls], first=True))
    if waiting.winner is not None:
        return await value_of(port, waiting.winner)
    return (await _values(port, waiting.steps, return_exceptions=False))[0]


async def sleep(port: Port, seconds: float) -> None:
    """Wait for a time that goes on while the job is asleep."""
    length = check_seconds("job.sleep", seconds, LONGEST)
    want = Want("sleep", "z", "", f"{length:g}", port.flow.branch().place("z"))
    waiting = await _wait(port, port.flow.begin([Step(want, ("sleep", length))]))
    await value_of(port, waiting.steps[0])


async def prepared(port: Port, call: Call) -> Step:
    """The step of a call, with its files stored."""
    if not isinstance(call, Call):
        close = getattr(call, "close", None)
        if close is not None:
            close()  # a coroutine of job.run
        raise TypeError(f"give job.call(Model, …), not {call!r}: what job.run returns goes to asyncio.gather")
    place = port.flow.branch().place(call.model)
    try:
        return step_of(call, place, _not_here)
    except _HasFiles:
        return await port.aside(partial(step_of, call, place, port.store))


async def value_of(port: Port, step: Step) -> Any:
    """What the code gets of a step that has ended. Raises StepFailed."""
    outcome = step.outcome
    if outcome is None:  # its await was ended, and nobody has it
        raise StepFailed("canceled", step=step.key)
    error = outcome.error(step.key)
    if error is not None:
        raise error
    if step.spec is None:
        return from_json(outcome.data)
    try:
        return await read(port, step.spec.output, outcome.data)
    except InvalidOutput as wrong:
        raise StepFailed("invalid-output", wrong.detail, step=step.key, job_id=outcome.job_id) from wrong


async def read(port: Port, schema: OutputSchema, data: bytes) -> Any:
    """A value from JSON, or from the file that has the JSON."""
    ref = referenced(data)
    if ref is None:
        return schema.decode(data, port.attached)
    return await port.aside(partial(_read_file, schema, ref, port.attached))


async def wait(port: Port, waiting: Await) -> Await:
    """Until it is over. Raises what stops the code there."""
    if not waiting.done:
        await port.wait(waiting)
    waiting.check()
    return waiting


_wait = wait


async def _next(port: Port, source: Iterator[Call], most: int) -> tuple[list[Step], bool]:
    """The next steps of so many calls, and whether there may be more."""
    steps: list[Step] = []
    while len(steps) < most:
        call = next(source, _END)
        if call is _END:
            return steps, False
        steps.append(await prepared(port, call))
    return steps, True


async def _values(port: Port, steps: list[Step], *, return_exceptions: bool) -> list[Any]:
    """In order; the first failure is raised, unless they are to be returned."""
    values: list[Any] = []
    for step in steps:
        try:
            values.append(await value_of(port, step))
        except StepFailed as error:
            if not return_exceptions:
                raise
            values.append(error)
        if not step.want.name:
            step.outcome = None  # the value is there; what it was read from may be as large
    return values


def _read_file(schema: OutputSchema, ref: FileRef, attached: Attached) -> Any:
    with attached.open(ref) as file:
        return schema.decode(file.read(), attached)


class _HasFiles(Exception):
    """There is something to store."""


def _not_here(_: File) -> FileRef:
    raise _HasFiles
