"""The second step of stopping: where in the author's code the reason is raised, and that it is nowhere else."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from longrun.errors import Canceled, SoftTimeLimit
from longrun.worker.runner.context import Context
from longrun.worker.runner.interrupts import Interrupts
from longrun.worker.runner.raising import covered, shielded
from longrun.worker.runner.run import Run


def silent(*members: Any) -> None:
    """A pipe that nobody reads."""


def running(context: Context | None = None) -> Run:
    """A job that runs."""
    return Run(("job_1", "1/n", b"{}", b"", False), context or Context(silent))


def stopped(code: Callable[[], Any], job: Run, kind: type[Canceled] = SoftTimeLimit, after: float = 0.003) -> Any:
    """What `code` returns or raises on a thread of its own, when it is interrupted meanwhile."""
    interrupts, begun, ends = Interrupts(), threading.Event(), list[Any]()

    def first() -> Any:
        begun.set()
        return code()

    def run() -> None:
        try:
            ends.append(interrupts.call(job.group, first))
        except BaseException as error:
            ends.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert begun.wait(20)
    time.sleep(after)
    job.request_stop(kind, is_async=False)
    interrupts.interrupt(job)
    thread.join(20)
    assert not thread.is_alive(), "not interrupted"
    return ends[0]


def counts() -> str:
    number = 0
    try:
        while True:
            number += 1
    except SoftTimeLimit:
        return "partial"


def looks_at_the_clock() -> str:
    end = time.monotonic() + 1000
    try:
        number = 0
        while time.monotonic() < end:
            number += 1
    except SoftTimeLimit:
        pass
    return "partial"


def goes_through_a_range() -> str:
    try:
        for number in range(10**12):
            if number == -5:
                break
    except SoftTimeLimit:
        pass
    return "partial"


def has_a_condition() -> str:
    number = 0
    try:
        while number >= 0:
            number += 1
    except SoftTimeLimit:
        pass
    return "partial"


def tries_inside_the_loop() -> str:
    number = 0
    while True:
        try:
            number += 1
            number -= 1
        except SoftTimeLimit:
            return "partial"


def suppresses() -> str:
    with suppress(SoftTimeLimit):
        for number in iter(int, 1):
            assert number == 0
    return "partial"


def spins(number: int = 0) -> None:
    while number >= 0:
        number += 1


def calls_a_loop() -> str:
    with suppress(SoftTimeLimit):
        spins()
    return "partial"


def sums_up() -> str:
    with suppress(SoftTimeLimit):
        sum(number * 0 for number in iter(int, 1))
    return "partial"


def calls_many() -> str:
    try:
        while True:
            sorted(range(3), key=lambda number: -number)
    except SoftTimeLimit:
        return "partial"


def sleeps() -> str:
    try:
        while True:
            time.sleep(0.001)
    except SoftTimeLimit:
        return "partial"


LOOPS = (
    counts,
    looks_at_the_clock,
    goes_through_a_range,
    has_a_condition,
    suppresses,
    calls_a_loop,
    sums_up,
    calls_many,
    sleeps,
)


@pytest.mark.parametrize("loop", LOOPS)
def test_the_time_limit_is_raised_where_the_loops_own_try_sees_it(loop: Callable[[], str]) -> None:
    for _ in range(10):
        job = running()
        assert stopped(loop, job) == "partial"
        assert (job.raised, job.partial) == ("exception", True)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Python 3.11 and 3.12 look only at the end of a turn, which no try covers there")
def test_a_try_inside_a_loop_is_met_too() -> None:
    for _ in range(10):
        assert stopped(tries_inside_the_loop, running()) == "partial"


def test_a_generator_of_the_author_is_interrupted_between_its_yields() -> None:
    def words() -> Iterator[str]:
        yield "one"
        try:
            for number in range(10**12):
                if number == -5:
                    break
        except SoftTimeLimit:
            yield "rest"

    iterator = words()
    assert next(iterator) == "one"
    assert stopped(lambda: next(iterator), running()) == "rest"


def test_a_lock_of_the_author_is_never_left_behind() -> None:
    """From Python 3.14 on an asynchronous exception may come when a lock is taken and its body has not begun."""
    lock = threading.Lock()

    def locks() -> None:
        while True:
            with lock:
                pass

    for n in range(200):
        assert isinstance(stopped(locks, running(), Canceled, after=n % 7 / 2000), Canceled)
        assert lock.acquire(timeout=5), "left locked"
        lock.release()


def test_what_a_job_says_is_never_cut_in_two() -> None:
    """A job that does nothing but report, stopped two hundred times: no lock of ours is left behind, and each report is whole."""
    lock, sent = threading.Lock(), list[Any]()

    def send(*members: Any) -> None:
        with lock:
            sent.append(members)
            time.sleep(0)

    context = Context(send)
    for n in range(200):
        job = running(context)
        # Not `Job.log`: that looks at the flag, and would stop by itself.
        said = 0

        def reports(job: Run = job) -> None:
            nonlocal said
            while True:
                job.emit("output", b'{"value":%d}' % said)
                said += 1

        assert isinstance(stopped(reports, job, Canceled, after=n % 7 / 2000), Canceled)
        closing = threading.Thread(target=job.close, daemon=True)
        closing.start()
        closing.join(10)
        assert not closing.is_alive(), "a lock was left behind"
        values = [data for _, _, _, events in sent for _, data in events]
        assert values == [b'{"value":%d}' % number for number in range(len(values))]
        assert said <= len(values) <= said + 1
        sent.clear()


def test_shielded_code_comes_to_its_end_and_the_reason_follows() -> None:
    ended = []

    @shielded
    def ours() -> None:
        for _ in range(20):
            time.sleep(0.005)
        ended.append(True)

    def code() -> None:
        ours()
        for number in range(10**12):
            if number == -5:
                break

    if sys.version_info >= (3, 13):
        pytest.skip("nothing of ours is watched from Python 3.13 on: see the test before")
    assert isinstance(stopped(code, running(), Canceled, after=0.02), Canceled)
    assert ended == [True]


def test_an_error_that_came_first_is_the_outcome() -> None:
    """The code raises at about the moment of the interrupt: it is its error or the reason, and never anything else."""
    seen = set()
    for n in range(300):
        job = running()

        def raises(n: int = n) -> None:
            for _ in range(n * 40):
                pass
            raise ValueError("its own")

        end = stopped(raises, job, after=0)
        assert isinstance(end, ValueError | SoftTimeLimit)
        assert job.partial == isinstance(end, SoftTimeLimit)
        seen.add(type(end))
    assert ValueError in seen


def test_an_interrupt_that_is_late_strikes_nothing_that_comes_next() -> None:
    """The code ends after the interrupt has found it running, and before it raises anything. The thread goes on with something of ours."""
    ended = threading.Event()

    class Late(Run):
        @property
        def unwanted(self) -> bool:
            assert ended.wait(20)
            return True

    job, interrupts = Late(("job_1", "1/n", b"{}", b"", False), Context(silent)), Interrupts()
    begun, go, ends = threading.Event(), threading.Event(), list[Any]()

    def code() -> str:
        begun.set()
        assert go.wait(20)
        return "whole"

    def run() -> None:
        try:
            ends.append(interrupts.call(job.group, code))
            ended.set()
            for _ in range(100):
                time.sleep(0.005)
            ends.append("after")
        except SoftTimeLimit as error:
            ends.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert begun.wait(20)
    job.request_stop(SoftTimeLimit, is_async=False)
    threading.Timer(0.1, go.set).start()
    interrupts.interrupt(job)
    thread.join(20)
    assert ends == ["whole", "after"]
    assert (job.raised, job.partial) == ("", False)


def test_the_table_of_exceptions_is_read_as_python_reads_it() -> None:
    def code() -> int:
        number = 1
        try:
            number += 1
        except ValueError:
            number = 3
        with suppress(ValueError):
            number += 4
        return number

    import dis

    entries = dis._parse_exception_table(code.__code__)  # type: ignore[attr-defined]
    assert covered(code.__code__) == [range(entry.start, entry.end) for entry in entries]
    assert len(entries) > 2
