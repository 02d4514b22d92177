"""Code of an author's that runs outside of `predict`: in inputs, outputs and iterators. What it raises costs its own job."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import orjson
import pytest
from pydantic import BaseModel, field_serializer, model_validator
from tests.integration.worker.nasty_exceptions import NASTY, Value
from tests.unit.worker.test_executor import code_of, frames_of, outcomes

from longrun.models import batched, isolated_registry, model

OUT = NASTY["exit_with_a_reason"]


class Checked(BaseModel):
    number: int

    @model_validator(mode="after")
    def checked(self) -> Any:
        if self.number:
            NASTY["an_interrupt" if self.number == 1 else "str_exits"]()
        return self


class Number(BaseModel):
    number: int


class Serialized(BaseModel):
    number: int

    @field_serializer("number")
    def written(self, number: int) -> int:
        if number:
            OUT()
        return number


class Iterated:
    __iter__ = __getattr__ = __len__ = keys = items = __array__ = lambda self, *_: OUT()  # type: ignore[assignment]


class Liar:
    @property
    def __class__(self) -> Any:
        return OUT()


VALUES: list[Callable[[], Any]] = [
    lambda: 0,
    Iterated,
    Value,
    lambda: [Value()],
    lambda: {Iterated(): 1},
    lambda: {"a": {"b": Iterated()}},
    Liar,
    lambda: type("Odd", (int,), {"__int__": lambda self: OUT(), "__index__": lambda self: OUT()})(3),
]


class Steps:
    """An iterator of which one method exits."""

    def __init__(self, bad: str) -> None:
        self._bad = bad

    def __iter__(self) -> Any:
        return self if self._bad != "iter" else OUT()

    __aiter__ = __iter__

    def __next__(self) -> int:
        return OUT() if self._bad == "next" else 1  # type: ignore[no-any-return]

    async def __anext__(self) -> int:
        return OUT() if self._bad == "next" else 1  # type: ignore[no-any-return]

    def close(self) -> None:
        OUT()

    async def aclose(self) -> None:
        OUT()


with isolated_registry():

    @model
    def takes(asked: Checked) -> int:
        return asked.number

    @model
    def serializes(number: int) -> Serialized:
        return Serialized(number=number)

    @model
    async def serializes_async(number: int) -> Serialized:
        return Serialized(number=number)

    @model
    def returns(number: int) -> Any:
        return VALUES[number]()

    @model
    async def returns_async(number: int) -> Any:
        return VALUES[number]()

    @model
    @batched(max_size=16)
    def returns_many(asks: list[Number]) -> list[Any]:
        return [VALUES[ask.number]() for ask in asks]

    @model
    def iterates(number: int) -> Iterator[Any]:
        return _iterates(number)

    @model
    async def iterates_async(number: int) -> AsyncIterator[Any]:
        if number == 1:
            OUT()
        try:
            yield 1
            yield Iterated() if number == 2 else 2
        finally:
            if number:
                OUT()


def _iterates(number: int) -> Any:
    return Steps({1: "iter", 2: "next"}[number]) if number in (1, 2) else _yields(number)


def _yields(number: int) -> Iterator[Any]:
    try:
        yield Iterated() if number else 1
    finally:
        if number:
            OUT()


@pytest.mark.parametrize("function", [takes, serializes, serializes_async, iterates, iterates_async])
async def test_what_is_raised_beside_predict_fails_its_own_job(function: Any) -> None:
    ends = outcomes(await frames_of(function, [0, 1, 2, 0]))
    assert [ends[n][2] for n in "0123"] == ["ok", "error", "error", "ok"]
    if function is takes:
        assert [code_of(ends[n]) for n in "12"] == ["validation-failed"] * 2


@pytest.mark.parametrize("function", [returns, returns_async, returns_many])
async def test_values_that_do_not_let_themselves_be_written_fail_their_own_job(function: Any) -> None:
    ends = outcomes(await frames_of(function, [*range(len(VALUES)), 0]))
    kinds = [ends[str(n)][2] for n in range(len(VALUES) + 1)]
    assert (kinds[0], kinds[-1]) == ("ok", "ok")
    assert kinds[1:7] == ["error"] * 6


async def test_a_generator_is_closed_in_the_name_of_its_job_and_what_it_raises_then_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    ends = outcomes(await frames_of(iterates, [3, 0]))
    assert (ends["0"][2], ends["1"][2]) == ("error", "ok")
    assert "no such voice" in orjson.loads(ends["0"][3])["debug"]
    assert "a generator did not end as asked" in capsys.readouterr().out


async def test_a_task_that_cancels_itself_and_raises_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with isolated_registry():

        @model
        async def cancels_itself(number: int) -> int:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            NASTY["str_exits"]()
            return number

    ends = outcomes(await frames_of(cancels_itself, [1, 2]))
    assert [orjson.loads(ends[n][3])["cause"] for n in "01"] == ["Nasty"] * 2


async def test_neighbours_on_the_event_loop_do_not_wait_for_an_exception_that_is_slow_to_say_what_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("longrun.worker.runner.raised.LOOKS", 10_000)
    neighbour_has_ended = threading.Event()

    class Slow(Exception):
        def __str__(self) -> str:
            neighbour_has_ended.wait()
            return "at last"

    with isolated_registry():

        @model
        async def slow(number: int) -> int:
            if number:
                raise Slow
            for _ in range(20):
                await asyncio.sleep(0.005)
            neighbour_has_ended.set()
            return 0

    ends = outcomes(await frames_of(slow, [1, 0]))
    assert (ends["0"][2], ends["1"][2]) == ("error", "ok")
    assert "at last" in orjson.loads(ends["0"][3])["debug"]
