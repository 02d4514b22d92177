"""The steps of a run, which are the same for sync and async models: what goes to the worker for what a model does."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import orjson
import pytest
from pydantic import BaseModel

from longrun.models import batched, isolated_registry, model
from longrun.worker.runner.async_executor import AsyncExecutor
from longrun.worker.runner.context import Context
from longrun.worker.runner.outcome import Done
from longrun.worker.runner.sync_executor import SyncExecutor


class Ask(BaseModel):
    number: int


def errors(number: int) -> Exception:
    return {1: ValueError("one"), 2: MemoryError("two")}[number]


with isolated_registry():

    @model
    def doubles(number: int) -> int:
        if number == 3:
            raise SystemExit(1)
        if number == 4:
            next(iter(()))
        return 2 * number if number > 2 or number == 0 else _raised(number)

    @model
    async def doubles_async(number: int) -> int:
        await asyncio.sleep(0)
        return 2 * number if number > 2 or number == 0 else _raised(number)

    @model
    def counts(number: int) -> Iterator[int]:
        yield from range(number)

    @model
    async def counts_async(number: int) -> AsyncIterator[int]:
        for n in range(number):
            yield n

    @model
    @batched(max_size=8)
    def halves(asks: list[Ask]) -> list[Any]:
        return _halves(asks)

    @model
    @batched(max_size=8)
    async def halves_async(asks: list[Ask]) -> list[Any]:
        await asyncio.sleep(0)
        return _halves(asks)


def _raised(number: int) -> int:
    raise errors(number)


def _halves(asks: list[Ask]) -> list[Any]:
    numbers = [ask.number for ask in asks]
    if 1 in numbers:
        raise ValueError("an odd number of them")
    if len(numbers) > 2 and 2 in numbers:
        raise MemoryError
    return [KeyError("three") if number == 3 else number / 2 for number in numbers]


async def frames_of(function: Any, numbers: list[Any], *, once: tuple[str, ...] = ()) -> list[tuple[Any, ...]]:
    """All frames that come of jobs with these inputs, the number of the job as its id."""
    spec, sent = function.__longrun__, list[tuple[Any, ...]]()
    context = Context(lambda *frame: sent.append(frame))
    instance = spec.instantiate()
    executor: AsyncExecutor | SyncExecutor
    if spec.is_async:
        executor = AsyncExecutor(spec, instance, context, loop=asyncio.get_running_loop())
    else:
        executor = SyncExecutor(spec, instance, context)
        threading.Thread(target=executor.serve, daemon=True).start()
    executor.put([(str(n), "1/n", orjson.dumps({"number": number}), b"", str(n) in once) for n, number in enumerate(numbers)])
    until = time.monotonic() + 20
    while len(outcomes(sent)) < len(numbers):
        assert time.monotonic() < until
        await asyncio.sleep(0.001)
    assert not executor.runs
    return sent


def outcomes(frames: list[tuple[Any, ...]]) -> dict[str, Done]:
    return {done[0]: done for kind, *members in frames if kind == "done" for done in members[0]}


def code_of(done: Done) -> str:
    return str(orjson.loads(done[3])["code"])


@pytest.mark.parametrize("function", [doubles, doubles_async])
async def test_what_is_returned_is_the_output_and_what_is_raised_fails_the_job_alone(function: Callable[..., Any]) -> None:
    ends = outcomes(await frames_of(function, [0, 1, 2, 5, "no number"]))
    assert [ends[n][2] for n in "01234"] == ["ok", "error", "memory", "ok", "error"]
    assert (ends["0"][3], ends["3"][3]) == (b"0", b"10")
    assert [code_of(ends[n]) for n in "124"] == ["model-error", "out-of-memory", "validation-failed"]
    assert all(done[4][0] >= 0 for done in ends.values())


async def test_what_would_end_a_thread_or_the_steps_is_said_as_it_was_raised() -> None:
    ends = outcomes(await frames_of(doubles, [3, 4, 5]))
    assert [orjson.loads(ends[n][3])["cause"] for n in "01"] == ["SystemExit", "StopIteration"]
    assert ends["2"][2] == "ok"


@pytest.mark.parametrize("function", [counts, counts_async])
async def test_what_is_yielded_is_events_and_then_the_output(function: Callable[..., Any]) -> None:
    frames = await frames_of(function, [3])
    events = [event for kind, *members in frames if kind == "events" for event in members[2]]
    assert events == [("output", b'{"value":%d}' % n) for n in range(3)]
    assert frames[-1][0] == "done"
    assert outcomes(frames)["0"][3] == b"[0,1,2]"


@pytest.mark.parametrize("function", [halves, halves_async])
async def test_an_exception_in_the_list_of_a_batch_and_a_bad_input_fail_one_item(function: Callable[..., Any]) -> None:
    ends = outcomes(await frames_of(function, [4, 3, "no number", 6]))
    assert [ends[n][2] for n in "0123"] == ["ok", "error", "error", "ok"]
    assert (ends["0"][3], ends["3"][3]) == (b"2.0", b"3.0")


@pytest.mark.parametrize("function", [halves, halves_async])
async def test_a_batch_that_raises_runs_again_item_by_item_except_what_must_run_once(function: Callable[..., Any]) -> None:
    ends = outcomes(await frames_of(function, [4, 1, 6], once=("2",)))
    assert [ends[n][2] for n in "012"] == ["ok", "error", "error"]
    assert [code_of(ends[n]) for n in "12"] == ["model-error"] * 2


@pytest.mark.parametrize("function", [halves, halves_async])
async def test_a_batch_that_is_too_large_for_the_memory_is_halved_and_the_worker_learns_it(function: Callable[..., Any]) -> None:
    frames = await frames_of(function, [2, 4, 2, 4])
    assert ("fits", "halves" if function is halves else "halves_async", 2) in frames
    assert [done[2] for done in outcomes(frames).values()] == ["ok"] * 4
