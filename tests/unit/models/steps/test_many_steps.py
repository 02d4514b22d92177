"""Many steps at once with a bare `Job()`: which result counts, what runs side by side, and what is stopped."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Iterator

import pytest
from tests.unit.models.steps.authored import RAN, echo, pair

from longrun import Failure, Job, RetryAfter, StepConflict, StepFailed, model
from longrun.errors import StepNotAwaited
from longrun.models import isolated_registry

with isolated_registry():

    @model
    async def waits(seconds: float, text: str) -> str:
        await asyncio.sleep(seconds)
        RAN.append(text)
        return text

    @model
    def fails(text: str, how: str = "value") -> str:
        RAN.append(text)
        raise {"value": ValueError("secret"), "failure": Failure(text), "after": RetryAfter(1, text)}[how]


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    RAN.clear()


def test_gather_waits_for_all_and_raises_the_first_failure_in_the_order_of_arguments() -> None:
    job = Job()
    with pytest.raises(StepFailed) as caught:
        job.gather(job.call(echo, value=1), job.call(fails, text="a", how="failure"), job.call(fails, text="b"), job.call(echo, value=2))
    assert (caught.value.code, caught.value.detail, caught.value.cause) == ("model-error", "a", None)
    assert RAN == [1, "a", "b", 2]
    both = job.gather(job.call(fails, text="b"), job.call(echo, value=2), return_exceptions=True)
    assert (type(both[0]), both[0].cause, both[1]) == (StepFailed, "ValueError", 2)
    assert "secret" not in str(both[0])
    assert both[0].job_id
    assert both[0].step.startswith("fails:")


async def test_a_failure_may_stop_the_others() -> None:
    job = Job()
    calls = [job.call(waits, seconds=30, text="late"), job.call(fails, text="a")]
    with pytest.raises(StepFailed):
        await asyncio.wait_for(job.gather(*calls, fail_fast=True), 20)
    await asyncio.sleep(0.05)
    assert RAN == ["a"]


async def test_the_first_to_succeed_wins_and_the_others_are_stopped() -> None:
    job = Job()
    calls = [job.call(waits, seconds=30, text="late"), job.call(fails, text="a"), job.call(waits, seconds=0, text="early")]
    assert await asyncio.wait_for(job.first(*calls), 20) == "early"
    with pytest.raises(StepFailed, match="model-error: a"):
        await job.first(job.call(fails, text="a", how="failure"), job.call(fails, text="b", how="failure"))


async def test_map_takes_its_inputs_as_there_is_room_for_them() -> None:
    job, running, most, taken = Job(), 0, 0, 0
    with isolated_registry():

        @model
        async def count(number: int) -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return number

    def inputs() -> Iterator[dict[str, int]]:
        nonlocal taken
        for number in range(200):
            assert taken - number < 5
            taken += 1
            yield {"number": number}

    assert await job.map(count, inputs(), limit=5) == list(range(200))
    assert (most, taken) == (5, 200)
    assert await job.map(count, [{"number": number} for number in range(250)]) == list(range(250))
    assert await job.map(count, []) == []


async def test_steps_side_by_side_in_tasks() -> None:
    job = Job()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(job.run(waits, seconds=0, text=text)) for text in "abc"]
    assert [task.result() for task in tasks] == ["a", "b", "c"]
    assert await asyncio.gather(job.run(pair), job.run(echo, value=1)) == [(1, "a"), 1]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await job.run(waits, seconds=30, text="late")
    await asyncio.sleep(0.02)
    assert "late" not in RAN
    with pytest.raises(TypeError, match=r"give job.call\(Model, …\)"):
        await job.gather(job.run(pair))


def test_a_name_is_for_one_step() -> None:
    job = Job()
    assert job.gather(job.call(echo, value=1, key="a"), job.call(echo, value=1, key="a")) == [1, 1]
    assert RAN == [1]
    with pytest.raises(StepConflict, match="'a' is used for two calls of echo with different inputs"):
        job.gather(job.call(echo, value=3, key="b"), job.call(echo, value=2, key="a"))
    assert RAN == [1], "nothing of that was begun"
    with pytest.raises(StepConflict, match="echo and pair"):
        job.run(pair, key="a")


async def test_a_step_that_is_never_awaited_is_an_error() -> None:
    job = Job()
    call = job.run(pair)
    with pytest.raises(StepNotAwaited, match=r"job\.run: called, and never awaited"):
        job._steps().flow.end()
    call.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        del call
        gc.collect()
