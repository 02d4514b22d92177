"""Whatever is raised is described: in a bounded time and text, and by a plain last resort."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
from enum import Enum
from types import SimpleNamespace
from typing import Annotated, Any
from unittest.mock import MagicMock

import orjson
import pytest
from pydantic import AfterValidator, BaseModel
from tests.integration.worker.nasty_exceptions import NASTY, SLOW, Text, Value

from longrun import Failure, Retry, RetryAfter, model
from longrun.errors import Canceled, InvalidOutput, ValidationFailed
from longrun.models import isolated_registry
from longrun.worker.runner import raised as module
from longrun.worker.runner import streams
from longrun.worker.runner.context import Context
from longrun.worker.runner.exception_text import ExceptionText
from longrun.worker.runner.memory import gpu_memory, release
from longrun.worker.runner.outcome import done_error, outputs_of_batch
from longrun.worker.runner.raised import describe, describe_aside
from longrun.worker.runner.run import Run

with isolated_registry():

    @model(retry=Retry(3))
    def retried() -> int:
        return 1

    @model(retry=Retry(3, on=(SystemExit,)))
    def exits_retried() -> int:
        return 1


def caught(name: str) -> BaseException:
    try:
        NASTY[name]()
    except BaseException as error:
        return error
    raise AssertionError(f"{name} raised nothing")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", NASTY)
def test_every_exception_becomes_an_outcome(name: str) -> None:
    begun = time.monotonic()
    error = caught(name)
    parts = ExceptionText(error).parts
    raised = describe(error)
    *_, kind, data, _, (retryable, seconds, _) = done_error("j", "1/n", raised, retried.__longrun__, 0.1, how=None)
    release(error)
    failure = orjson.loads(data)
    assert time.monotonic() - begun < 20
    assert kind == ("memory" if "out_of_memory" in name and "str" not in name else "error")
    assert "nasty_exceptions/" in raised.text
    assert len(parts) <= 50
    assert len(raised.text) < 17_000 and len(raised.name) <= 256 and len(raised.detail) <= 4_096
    assert len(data) < 30_000 and failure["detail"]
    assert type(retryable) is bool and (seconds is None or type(seconds) is float)


async def test_while_an_exception_is_asked_others_go_on() -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    others = asyncio.create_task(turn())
    raised = await asyncio.gather(*[describe_aside(caught(name)) for name in SLOW])
    others.cancel()
    assert turns > 5
    assert len(raised) == len(SLOW)


async def test_a_task_that_is_canceled_while_its_exception_is_asked_learns_what_it_is() -> None:
    task = asyncio.create_task(describe_aside(caught("str_sleeps")))
    for _ in range(3):
        await asyncio.sleep(0.01)
        task.cancel()
    assert (await task).name == "Nasty"


def test_threads_that_ask_end_and_those_that_cannot_be_ended_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOKS", 1)
    stuck: list[Any] = []
    monkeypatch.setattr(module, "_stuck", stuck)
    before = threading.active_count()
    describe(caught("str_loops"))
    until = time.monotonic() + 20
    while threading.active_count() > before:
        assert time.monotonic() < until
        time.sleep(0.01)
    error = caught("str_cannot_be_ended")
    for _ in range(10):
        text = describe(error).text
    assert [kind for _, kind in stuck] == [type(error)] * 3
    assert "Nasty" in text and "nasty_exceptions/" in text


def test_with_too_many_threads_that_cannot_be_ended_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_stuck", [(threading.current_thread(), type(str(number), (), {})) for number in range(50)])
    monkeypatch.setattr(threading.Thread, "start", lambda self: pytest.fail("a thread was started"))
    assert "nasty_exceptions/" in describe(caught("str_sleeps")).text


def test_nothing_is_asked_where_nothing_of_an_authors_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", lambda self: pytest.fail("a thread was started"))
    assert "ValueError: text" in describe(ValueError("text")).text
    assert describe(Failure("Read this.")).detail == "Read this."
    assert describe(RetryAfter(3, "Busy.")).seconds == 3.0


def test_without_a_thread_to_ask_on_its_place_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert "nasty_exceptions/" in describe(caught("str_exits")).text


def test_without_memory_for_more_the_class_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(module, "ExceptionText", refuse)
    raised = describe(ValueError("text"))
    assert (raised.name, raised.out_of_memory) == ("ValueError", False)
    assert orjson.loads(done_error("j", "1/n", raised, retried.__longrun__, 0.1, how=None)[3])["cause"] == "ValueError"


def test_exits_keep_their_reason_and_place_and_are_tried_again_if_that_is_asked_for() -> None:
    raised = describe(caught("exit_with_a_reason"))
    assert "SystemExit: no such voice" in raised.text
    assert 'sys.exit("no such voice")' in raised.text
    outcomes = [done_error("j", "1/n", raised, spec.__longrun__, 0.1, how=None) for spec in (retried, exits_retried)]
    assert [orjson.loads(each[3])["cause"] for each in outcomes] == ["SystemExit"] * 2
    assert [each[5][0] for each in outcomes] == [False, True]


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("soon", None), ("nan", None), ("none", None), ("object", None), ("inf", float("inf")), ("huge", float("inf")), ("negative", -1.0)],
)
def test_seconds_are_a_number_or_none(name: str, seconds: float | None) -> None:
    assert describe(caught(f"seconds_{name}")).seconds == seconds


@pytest.mark.parametrize(("name", "detail"), [("none", ""), ("bytes", "bytes \ufffd"), ("half_a_pair", "\ufffd"), ("object", "")])
def test_details_are_text(name: str, detail: str) -> None:
    assert describe(caught(f"detail_{name}")).detail == detail


def test_a_detail_is_known_though_the_text_hangs() -> None:
    class Slow(Failure):
        def __str__(self) -> str:
            time.sleep(3600)
            return ""

    assert describe(Slow("Read this.")).detail == "Read this."


def test_the_cause_and_the_group_are_told_as_python_tells_them() -> None:
    try:
        try:
            raise OSError("no disk")
        except OSError as first:
            raise ExceptionGroup("both", [ValueError("one"), KeyError("two")]) from first
    except ExceptionGroup as error:
        error.add_note("a note")
        text = describe(error).text
    order = ["OSError: no disk", "direct cause", "ExceptionGroup: both (2 sub-exceptions)", "a note", "ValueError: one", "KeyError: 'two'"]
    assert [text.index(each) for each in order] == sorted(text.index(each) for each in order)
    assert "raise ExceptionGroup" in text


@pytest.mark.parametrize("inner", [MemoryError("x"), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")])
def test_a_group_that_holds_an_error_of_memory_is_one(inner: Exception) -> None:
    group = ExceptionGroup("g", [ValueError("other"), ExceptionGroup("h", [inner])])
    assert describe(group).out_of_memory
    after = ValueError("after it")
    after.__context__ = inner
    assert not describe(after).out_of_memory


def test_release_frees_what_a_ring_held_and_leaves_the_generators_of_others_alone() -> None:
    error = MemoryError()
    error.__context__ = other = MemoryError()
    other.__cause__ = error

    def neighbour() -> Any:
        try:
            raise error
        except MemoryError:
            yield 1
        yield 2

    goes_on = neighbour()
    assert next(goes_on) == 1
    release(error)
    assert next(goes_on) == 2
    assert error.__traceback__ is None


def test_values_of_the_corpus_are_as_bad_as_they_should_be() -> None:
    for value in (Text("x"), Value()):
        with pytest.raises(SystemExit):
            str(value)


# -- around the outcome ---------------------------------------------------------------------------------------------------


def test_what_a_thread_or_a_finalizer_raises_is_written_without_asking_it_here(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr("sys.stderr", SimpleNamespace(write=written.append))
    details = SimpleNamespace(exc_value=caught("str_sleeps"), thread=threading.current_thread(), err_msg=None, object=Value())
    begun = time.monotonic()
    streams._thread_raised(details)
    streams._cannot_be_raised(details)
    streams._thread_raised(SimpleNamespace(exc_value=caught("exit_with_a_reason"), thread=None))
    assert time.monotonic() - begun < 20
    while len(written) < 2:
        assert time.monotonic() - begun < 20
        time.sleep(0.01)
    assert {text.partition(":")[0] for text in written} == {"Exception in thread MainThread", "Exception ignored in Value"}
    assert all("nasty_exceptions/" in text for text in written)


async def test_a_task_that_nobody_asked_for_its_exception_does_not_hold_up_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(streams.log_unretrieved)

    async def raises() -> None:
        NASTY["str_sleeps"]()

    task = asyncio.create_task(raises())
    await asyncio.sleep(0)
    begun = time.monotonic()
    del task
    gc.collect()
    assert time.monotonic() - begun < 20
    loop.call_exception_handler({"message": "of another kind"})
    while "never retrieved" not in caplog.text:
        assert time.monotonic() - begun < 20
        await asyncio.sleep(0.01)
    assert "nasty_exceptions/" in caplog.text and "of another kind" in caplog.text


class Number(float):
    __add__ = __radd__ = __abs__ = __float__ = __repr__ = lambda self, *_: Value()  # type: ignore[assignment]


def test_what_a_model_reports_is_made_plain_in_its_own_call() -> None:
    frames: list[tuple[Any, ...]] = []
    run = Run(("job_1", "1/n", b"{}", b"", False), Context(lambda *frame: frames.append(frame)))
    handle = run.handle("m")

    class Slow:
        def __str__(self) -> str:
            assert run._context.capture.lock.acquire(blocking=False)
            free.append(not_held_by(run._context.capture.lock))
            run._context.capture.lock.release()
            raise ValueError

    free: list[bool] = []
    handle.progress(0.5, Slow(), 10**30)  # type: ignore[arg-type]
    handle.progress(0.5, Text("a text"), Level.high)  # type: ignore[arg-type]
    handle.usage(tokens=Number(3), cost=True + 1)
    handle.usage(tokens=4)
    with pytest.raises(SystemExit):
        handle.log(Value())  # type: ignore[arg-type]
    with pytest.raises(SystemExit):
        handle.progress(0.5, Value())  # type: ignore[arg-type]
    run.close()
    events = [(kind, orjson.loads(data)) for frame in frames for kind, data in frame[3]]
    assert free == [True]
    assert [data for kind, data in events if kind == "usage"][-1] == {"tokens": 7.0, "cost": 2}
    steps = [data for kind, data in events if kind == "progress"]
    assert steps[-1] == {"fraction": 0.5, "step": "a text", "message": "up"}


def not_held_by(lock: Any) -> bool:
    """Whether another thread could have taken a lock that this one has taken once."""
    lock.release()
    taken: list[bool] = []
    thread = threading.Thread(target=lambda: (taken.append(lock.acquire(blocking=False)), taken[0] and lock.release()))
    thread.start()
    thread.join()
    lock.acquire()
    return taken[0]


class Level(Enum):
    high = "up"


@pytest.mark.parametrize("kind", ["sys.exit", "hostile text", "KeyboardInterrupt"])
def test_a_validator_that_breaks_refuses_the_input_and_ends_nothing(kind: str) -> None:
    def check(value: int) -> int:
        if kind == "sys.exit":
            raise SystemExit("out")
        if kind == "KeyboardInterrupt":
            raise KeyboardInterrupt
        raise type("Nasty", (ValueError,), {"__str__": lambda self: NASTY["exit_with_a_reason"]()})

    class Input(BaseModel):
        number: Annotated[int, AfterValidator(check)]

    with isolated_registry():

        @model
        def checked(asked: Input) -> int:
            return asked.number

    with pytest.raises(ValidationFailed) as caught_:
        checked.__longrun__.input.parse({"number": 1})
    assert caught_.value.errors == [{"pointer": "/input", "detail": "The model's own checks could not handle this input"}]


def test_what_stops_a_job_passes_a_validator() -> None:
    def check(value: int) -> int:
        raise Canceled

    class Input(BaseModel):
        number: Annotated[int, AfterValidator(check)]

    with isolated_registry():

        @model
        def checked(asked: Input) -> int:
            return asked.number

    with pytest.raises(Canceled):
        checked.__longrun__.input.parse({"number": 1})


class Many(list[Any]):
    __len__ = __getitem__ = __iter__ = __class__ = lambda self, *_: NASTY["exit_with_a_reason"]()  # type: ignore[assignment]


def test_a_list_that_does_not_let_itself_be_read_is_read_all_the_same() -> None:
    many = Many.__new__(Many)
    list.extend(many, [1, 2])
    assert outputs_of_batch(many, 2) == [1, 2]
    assert [type(each) for each in outputs_of_batch(many, 3)] == [InvalidOutput] * 3
    assert outputs_of_batch((1, 2), 2) == (1, 2)
    assert [str(each) for each in outputs_of_batch(None, 1)] == ["A batch of 1 must return a list of 1; the model returned NoneType."]


def test_a_retry_covers_what_except_would_catch_and_asks_nothing() -> None:
    every = Retry(2, on=(BaseException,), never=(OSError,))
    assert all(every.covers(caught(name)) for name in ("a_class_that_says_it_is_a_cancellation", "a_class_of_an_odd_metaclass"))
    assert not every.covers(caught("a_file_name_that_cannot_be_written"))
    assert not every.covers(caught("a_cancellation_that_nobody_asked_for"))


def test_a_gpu_that_no_longer_works_or_a_torch_that_is_none_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    cuda = SimpleNamespace(is_initialized=lambda: True, empty_cache=refuse, device_count=refuse)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))  # type: ignore[arg-type]
    release(MemoryError())
    assert gpu_memory() is None
    monkeypatch.setitem(sys.modules, "torch", MagicMock())
    assert gpu_memory() is None
