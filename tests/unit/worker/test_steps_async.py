"""Steps of async models in their runner, with a worker that is played."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from longrun.errors import Canceled, SoftTimeLimit, StepFailed
from longrun.models import Job, isolated_registry, model

from .steps_played import CHILDREN, PlayedWorker, at_once, settled

Code = Callable[[Job], Awaitable[Any]]


async def step(job: Job, name: str, data: Any = None) -> Any:
    return await job.run(CHILDREN[name], data=data)


def parent_of(code: Code) -> Any:
    """A model with this code."""
    with isolated_registry():

        @model
        async def parent(job: Job) -> Any:
            return await code(job)

    return parent


async def played(code: Code, ends: Any = lambda *_: None) -> PlayedWorker:
    return PlayedWorker(parent_of(code), ends).start()


async def one(job: Job) -> Any:
    return await step(job, "draw", 1)


async def test_a_step_is_one_trip_and_its_output_comes_back() -> None:
    worker = await played(one, at_once)
    assert (await worker.outcome())[2:4] == ("ok", b"1")
    ((n, seen, need, until, calls),) = worker.named("ask")
    assert (n, seen, need, until, len(calls)) == (1, -1, 1, 0, 1)


async def test_branches_that_stand_still_ask_in_one_frame_and_the_run_waits() -> None:
    async def four(job: Job) -> Any:
        return await asyncio.gather(*(step(job, "draw", n) for n in range(4)))

    worker = await played(four)
    await worker.until(lambda: worker.parked)
    ((_, _, need, _, calls),) = worker.named("ask")
    assert (need, len(calls)) == (1, 4)
    for key in reversed(worker.made):
        worker.end(key, key)
        await worker.until(lambda: worker.parked or worker.done)
    assert orjson.loads((await worker.outcome())[3]) == worker.made


@pytest.mark.parametrize("busy", ["thread", "spin"])
async def test_a_run_with_a_branch_that_works_does_not_wait(busy: str) -> None:
    go = asyncio.Event()

    async def works() -> None:
        if busy == "thread":
            await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(go.wait(), loop).result())
        while not go.is_set():  # noqa: ASYNC110 - it is to turn
            await asyncio.sleep(0)

    async def both(job: Job) -> Any:
        return (await asyncio.gather(one(job), works()))[0]

    loop = asyncio.get_running_loop()
    worker = await played(both)
    await worker.until(lambda: worker.made)
    await settled(0.2)
    assert not worker.parked
    assert not worker.named("awake")
    go.set()
    await worker.until(lambda: worker.parked)
    worker.end(worker.made[0], "drawn")
    assert (await worker.outcome())[2:4] == ("ok", b'"drawn"')


async def test_a_timer_of_its_own_wakes_a_run_that_waits() -> None:
    async def ticks(job: Job) -> Any:
        other = asyncio.create_task(one(job))
        await asyncio.sleep(0.5)
        job.log("awake")
        return await other

    worker = await played(ticks)
    await worker.until(lambda: worker.parked)
    await worker.until(lambda: worker.named("awake"))
    assert not worker.parked or len(worker.named("ask")) > 1
    await worker.until(lambda: worker.parked)
    worker.end(worker.made[0], 2)
    assert (await worker.outcome())[3] == b"2"


async def test_s32_a_canceled_await_stops_that_child_alone() -> None:
    async def limited(job: Job) -> Any:
        try:
            async with asyncio.timeout(1.0):
                await step(job, "slow")
        except TimeoutError:
            return await step(job, "quick")

    worker = await played(limited, lambda name, _: ("succeeded", b'"quick"') if name == "quick" else None)
    assert (await worker.outcome())[2:4] == ("ok", b'"quick"')
    assert worker.dropped == [worker.made[0]]
    assert worker.named("awake")
    later = worker.again(parent_of(limited), lambda *_: ("succeeded", b'"other"')).start(flow=[0, 0, "-", 1, 0])
    assert (await later.outcome())[2:4] == ("ok", b'"quick"')
    assert not later.made


async def test_s32_a_job_that_is_stopped_or_let_go_stops_no_child_by_itself() -> None:
    async def group(job: Job) -> Any:
        async with asyncio.TaskGroup() as tasks:
            for n in range(3):
                tasks.create_task(step(job, "draw", n))

    for how in ("cancel", "let go"):
        worker = await played(group)
        await worker.until(lambda worker=worker: worker.parked)
        if how == "cancel":
            worker.stop(Canceled)
        else:
            worker.let_go()
        assert (await worker.outcome())[2] == {"cancel": "canceled", "let go": "waited"}[how]
        assert not worker.dropped


async def test_s42_letting_go_unwinds_the_code_and_steps_asked_for_there_raise_it_again() -> None:
    seen: list[Any] = []

    async def cleans(job: Job) -> Any:
        try:
            await asyncio.gather(one(job), step(job, "judge"))
        except BaseException as error:
            seen.append(type(error).__name__)
            with pytest.raises(Canceled) as again:
                await step(job, "clean")
            seen.append(type(again.value).__name__)
            raise
        finally:
            seen.append("finally")

    worker = await played(cleans)
    await worker.until(lambda: worker.parked)
    worker.let_go()
    done = await worker.outcome()
    assert (done[2], done[3], done[5]) == ("waited", b"", None)
    assert seen == ["LetGo", "LetGo", "finally"]
    assert len(worker.made) == 2
    assert len(worker.named("ask")) == 1


async def test_s42_code_that_swallows_it_gets_it_again_and_its_end_counts_for_nothing() -> None:
    tried: list[str] = []

    async def stubborn(job: Job) -> Any:
        for n in range(3):
            try:
                await step(job, "draw", n)
            except BaseException as error:
                tried.append(type(error).__name__)
        job.log("gone on")
        return "done"

    worker = await played(stubborn)
    await worker.until(lambda: worker.parked)
    worker.let_go()
    assert (await worker.outcome())[2] == "waited"
    assert tried == ["LetGo"] * 3
    assert not worker.logs()


async def test_a_run_that_does_not_wait_is_not_let_go() -> None:
    async def works(job: Job) -> Any:
        await one(job)
        await asyncio.sleep(0.2)
        return await step(job, "judge")

    worker = await played(works, at_once)
    await worker.until(lambda: worker.made)
    worker.let_go()
    assert (await worker.outcome())[2] == "ok"


async def test_s42_what_the_clean_up_waits_for_is_unwound_too() -> None:
    async def cleans(job: Job) -> Any:
        other = asyncio.create_task(step(job, "slow"))
        try:
            await one(job)
        finally:
            await asyncio.wait([other])

    worker = await played(cleans)
    await worker.until(lambda: worker.parked)
    worker.let_go()
    assert (await worker.outcome())[2] == "waited"


async def test_code_that_goes_on_some_turns_after_a_step_does_not_wait_in_between() -> None:
    async def groups(job: Job) -> Any:
        for n in range(3):
            async with asyncio.TaskGroup() as outer, asyncio.TaskGroup() as inner:
                outer.create_task(step(job, "draw", n))
                inner.create_task(step(job, "brand", n))

    async def both(job: Job) -> Any:
        await asyncio.gather(step(job, "slow"), groups(job))

    worker = await played(both)
    for n in range(3):
        await worker.until(lambda n=n: worker.parked and len(worker.made) == 3 + 2 * n)
        worker.end(worker.made[-1])
        await worker.until(lambda: worker.parked)
        worker.end(worker.made[-2])
    await worker.until(lambda: worker.parked)
    worker.end(worker.made[0])
    assert (await worker.outcome())[2] == "ok"
    assert [len(calls) for *_, calls in worker.named("ask")] == [3, 0, 2, 0, 2, 0, 0]


async def test_s31_a_replay_wakes_branches_in_the_order_in_which_their_steps_ended() -> None:
    order: list[int] = []

    async def branch(job: Job, n: int) -> None:
        await step(job, "draw", n)
        order.append(n)
        await step(job, "brand", n)

    async def three(job: Job) -> Any:
        await asyncio.gather(*(branch(job, n) for n in range(3)))
        return list(order)

    worker = await played(three)
    await worker.until(lambda: worker.parked)
    for key in [worker.made[2], worker.made[0], worker.made[1]]:
        worker.end(key)
        await worker.until(lambda: worker.parked)
    assert order == [2, 0, 1]
    worker.let_go()
    assert (await worker.outcome())[2] == "waited"
    order.clear()
    later = worker.again(parent_of(three), at_once).start()
    await later.until(lambda: later.parked)
    assert order == [2, 0, 1]
    assert not later.made
    for key in worker.made[3:]:
        later.end(key)
    assert orjson.loads((await later.outcome())[3]) == [2, 0, 1]


async def test_s37_what_is_replayed_is_silent() -> None:
    async def talks(job: Job) -> Any:
        job.log("begun")
        job.usage(tokens=1)
        await step(job, "draw")
        job.progress(0.5)
        job.log("drawn")
        await step(job, "judge")
        job.log("judged")

    worker = await played(talks)
    await worker.until(lambda: worker.parked)
    worker.end(worker.made[0])
    await worker.until(lambda: worker.parked)
    worker.let_go()
    await worker.outcome()
    assert [each["message"] for each in worker.logs()] == ["begun", "drawn"]
    later = worker.again(parent_of(talks)).start()
    await later.until(lambda: later.parked)
    later.end(worker.made[1])
    assert (await later.outcome())[2] == "ok"
    assert [each["message"] for each in later.logs()] == ["judged"]
    assert not later.logs("usage") + later.logs("progress")


async def test_s9_a_failed_step_fails_the_parent_if_it_is_not_caught() -> None:
    failure = orjson.dumps({"code": "model-error", "detail": "no ink", "cause": None})
    worker = await played(one, lambda *_: ("failed", failure))
    done = await worker.outcome()
    error = orjson.loads(done[3])
    assert (done[2], error["code"], error["step_code"], error["step"]) == ("error", "step-failed", "model-error", worker.made[0])
    assert error["job_id"] == f"job_of_{worker.made[0]}"
    assert "no ink" in error["detail"]

    async def catches(job: Job) -> Any:
        with pytest.raises(StepFailed):
            await one(job)
        return "caught"

    worker = await played(catches, lambda *_: ("failed", failure))
    assert (await worker.outcome())[3] == b'"caught"'


async def test_s19_a_parent_that_waits_gets_its_time_limit_and_may_return_what_it_has() -> None:
    async def partial(job: Job) -> Any:
        try:
            return await asyncio.gather(one(job), step(job, "judge"))
        except SoftTimeLimit:
            return "so far"

    worker = await played(partial)
    await worker.until(lambda: worker.parked)
    worker.stop(SoftTimeLimit)
    done = await worker.outcome()
    assert done[2:4] == ("partial", b'"so far"')
    assert not worker.dropped


async def test_s17_a_stale_claim_stops_the_code() -> None:
    worker = PlayedWorker(parent_of(one))
    worker.stale = True
    assert (await worker.start().outcome())[2] == "canceled"


async def test_a_task_that_is_left_behind_waits_for_no_step() -> None:
    left: list[Any] = []

    async def leaves(job: Job) -> Any:
        left.append(asyncio.create_task(one(job)))
        await asyncio.sleep(0.1)
        return "done"

    worker = await played(leaves)
    assert (await worker.outcome())[2] == "ok"
    await worker.until(left[0].done)
    assert left[0].cancelled()


async def test_files_that_were_made_leave_before_steps_that_may_name_them() -> None:
    async def makes(job: Job) -> Any:
        for n in range(3):
            job.log(f"{n}")
        return await one(job)

    worker = await played(makes)
    await worker.until(lambda: worker.made)
    assert worker.heard == 3
