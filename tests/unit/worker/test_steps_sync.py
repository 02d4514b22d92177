"""Steps of sync models in their runner, with a worker that is played."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from longrun.errors import Canceled, LongrunError, SoftTimeLimit, StepFailed
from longrun.models import Job, isolated_registry, model

from .steps_played import CHILDREN, PlayedWorker, at_once, settled

Code = Callable[[Job], Any]


def step(job: Job, name: str, data: Any = None) -> Any:
    return job.run(CHILDREN[name], data=data)


def parent_of(code: Code) -> Any:
    """A model with this code."""
    with isolated_registry():

        @model
        def parent(job: Job, number: int = 0) -> Any:
            return code(job)

    return parent


def played(code: Code, ends: Any = lambda *_: None) -> PlayedWorker:
    return PlayedWorker(parent_of(code), ends).start()


def two(job: Job) -> Any:
    return step(job, "judge", step(job, "draw", 1))


async def test_a_step_is_one_trip_and_its_output_comes_back() -> None:
    worker = played(two, at_once)
    assert (await worker.outcome())[2:4] == ("ok", b"1")
    assert [(need, len(calls)) for _, _, need, _, calls in worker.named("ask")] == [(1, 1), (1, 1)]


async def test_a_thread_that_waits_leaves_its_place_to_another_and_no_more_run_than_are_wanted() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def counted(job: Job) -> Any:
        nonlocal running, most

        def change(by: int) -> None:
            nonlocal running, most
            with lock:
                running += by
                most = max(most, running)

        change(1)
        change(-1)
        step(job, "draw")
        change(1)
        time.sleep(0.01)
        change(-1)

    function = parent_of(counted)
    worker = PlayedWorker(function)
    for n in range(5):
        # One store for all: the keys are the same, so each waits for the one step.
        worker.start(job_id=f"job_{n}")
        await worker.until(lambda n=n: len(worker.named("ask")) == n + 1)
    await settled()
    assert most == 1
    executor = worker.executor
    worker.children[worker.made[0]] = ("draw", None, "succeeded", b"null")
    for n in range(5):
        row = [worker.made[0], "succeeded", b"null", b"", "job_x", 0]
        executor.reply("answer", (f"job_{n}", "1/n"), (0, 1, False, 1000, [row]))
        assert (await worker.outcome(f"job_{n}"))[2] == "ok"
    assert most == 1


@pytest.mark.parametrize("places", [1, 2])
async def test_what_was_sent_ahead_waits_for_a_parent_that_has_gone_on(places: int) -> None:
    running, most, lock, ends = 0, 0, threading.Lock(), threading.Event()

    def code(job: Job, number: int) -> None:
        nonlocal running, most
        if number == 0:
            step(job, "draw")
        with lock:
            running += 1
            most = max(most, running)
        ends.wait(4)
        with lock:
            running -= 1

    with isolated_registry():

        @model
        def parent(job: Job, number: int = 0) -> None:
            code(job, number)

    worker = PlayedWorker(parent, concurrency=places).start()
    await worker.until(lambda: worker.parked)
    worker.executor.put([("job_0", "1/n", b'{"number":1}', b"", False, None)])
    await worker.until(lambda: running == 1)
    ends.set()
    await worker.outcome("job_0")
    ends.clear()
    worker.end(worker.made[0])
    for n in range(2, 6):
        worker.executor.put([(f"job_{n}", "1/n", b'{"number":1}', b"", False, None)])
    await worker.until(lambda: running == places)
    await settled()
    ends.set()
    for job_id in ("job_1", *(f"job_{n}" for n in range(2, 6))):
        assert (await worker.outcome(job_id))[2] == "ok"
    assert most == places


async def test_steps_work_on_the_thread_of_predict_alone_also_when_another_one_asks_first() -> None:
    said: list[str] = []

    def elsewhere(job: Job) -> None:
        with pytest.raises(LongrunError) as caught:
            step(job, "draw", 1)
        said.append(str(caught.value))

    def asks(job: Job) -> Any:
        thread = threading.Thread(target=elsewhere, args=(job,))
        thread.start()
        thread.join()
        return step(job, "draw", 2)

    assert (await played(asks, at_once).outcome())[2:4] == ("ok", b"2")
    assert len(said) == 1 and "on the thread of predict alone" in said[0]


async def test_s42_letting_go_unwinds_the_code_and_steps_asked_for_there_raise_it_again() -> None:
    seen: list[str] = []

    def cleans(job: Job) -> Any:
        try:
            return two(job)
        except BaseException as error:
            seen.append(type(error).__name__)
            with pytest.raises(Canceled):
                step(job, "clean")
            raise
        finally:
            seen.append("finally")

    worker = played(cleans)
    await worker.until(lambda: worker.parked)
    worker.let_go()
    assert (await worker.outcome())[2] == "waited"
    assert seen == ["LetGo", "finally"]
    assert len(worker.made) == 1
    later = worker.again(parent_of(two)).start()
    await later.until(lambda: later.parked)
    later.end(worker.made[0], "drawn")
    await later.until(lambda: len(later.made) == 1 and later.parked)
    later.end(later.made[0], "judged")
    assert (await later.outcome())[2:4] == ("ok", b'"judged"')


async def test_s42_code_that_swallows_it_gets_it_again_and_its_end_counts_for_nothing() -> None:
    tried: list[str] = []

    def stubborn(job: Job) -> Any:
        for n in range(3):
            try:
                step(job, "draw", n)
            except BaseException as error:
                tried.append(type(error).__name__)
        return "done"

    worker = played(stubborn)
    await worker.until(lambda: worker.parked)
    worker.let_go()
    assert (await worker.outcome())[2] == "waited"
    assert tried == ["LetGo"] * 3


@pytest.mark.parametrize("interrupt", [False, True])
@pytest.mark.parametrize("kind", [Canceled, SoftTimeLimit])
async def test_a_thread_that_waits_is_stopped_at_once(kind: type[Canceled], interrupt: bool) -> None:
    def partial(job: Job) -> Any:
        try:
            return two(job)
        except SoftTimeLimit:
            return "so far"

    worker = played(partial)
    await worker.until(lambda: worker.parked)
    worker.stop(kind, interrupt=interrupt)
    done = await worker.outcome()
    assert done[2:4] == (("canceled", b"") if kind is Canceled else ("partial", b'"so far"'))
    assert done[5] == ("flag" if kind is Canceled else None)


@pytest.mark.parametrize("before", [True, False])
async def test_code_before_and_after_a_step_is_still_interrupted(before: bool) -> None:
    begun = threading.Event()

    def loops(job: Job) -> Any:
        if not before:
            step(job, "draw")
        begun.set()
        while True:
            pass

    worker = played(loops, at_once)
    await worker.until(begun.is_set)
    worker.stop(Canceled)
    await settled(0.1)
    assert not worker.done
    worker.stop(Canceled, interrupt=True)
    done = await worker.outcome()
    assert (done[2], done[5]) == ("canceled", "exception")


async def test_s19_after_its_time_limit_the_code_may_wait_for_another_step() -> None:
    def goes_on(job: Job) -> Any:
        try:
            return step(job, "draw")
        except SoftTimeLimit:
            return step(job, "quick")

    worker = played(goes_on, lambda name, _: ("succeeded", b'"quick"') if name == "quick" else None)
    await worker.until(lambda: worker.parked)
    worker.stop(SoftTimeLimit)
    assert (await worker.outcome())[2:4] == ("partial", b'"quick"')


async def test_steps_on_another_thread_are_refused() -> None:
    def threads(job: Job) -> Any:
        raised: list[Exception] = []

        def other() -> None:
            try:
                step(job, "draw")
            except LongrunError as error:
                raised.append(error)

        step(job, "judge")
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        raise raised[0]

    worker = played(threads, at_once)
    assert (await worker.outcome())[2] == "error"
    assert [calls[0][3] for *_, calls in worker.named("ask")] == ["judge"]


async def test_s9_a_failed_step_can_be_caught() -> None:
    def catches(job: Job) -> Any:
        try:
            two(job)
        except StepFailed as error:
            return [error.code, error.detail]

    failure = orjson.dumps({"code": "timeout", "detail": "It took long."})
    worker = played(catches, lambda *_: ("failed", failure))
    assert (await worker.outcome())[3] == b'["timeout","It took long."]'


async def test_s17_a_stale_claim_stops_the_code() -> None:
    worker = PlayedWorker(parent_of(two))
    worker.stale = True
    assert (await worker.start().outcome())[2] == "canceled"


async def test_a_replay_whose_journal_cannot_be_read_stops_before_its_code() -> None:
    begun: list[int] = []
    worker = PlayedWorker(parent_of(lambda job: begun.append(1)), fields={"x": b"?"})
    worker.stale = True
    assert (await worker.start().outcome())[2] == "canceled"
    assert not begun
