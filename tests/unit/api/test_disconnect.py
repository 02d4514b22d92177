"""What is going on for a caller ends when that caller has gone away."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import ClientDisconnect

from longrun.api.streams.disconnect import ended_by


async def test_what_goes_on_ends_when_the_caller_leaves() -> None:
    leaving = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(leaving.set_result, None)
    with pytest.raises(ClientDisconnect):
        async with ended_by(leaving):
            await asyncio.sleep(10)


async def test_also_when_it_had_left_before() -> None:
    leaving = asyncio.get_running_loop().create_future()
    leaving.set_result(None)
    with pytest.raises(ClientDisconnect):
        async with ended_by(leaving):
            await asyncio.sleep(10)


async def test_what_ends_by_itself_ends_the_listening_for_it() -> None:
    leaving = asyncio.ensure_future(asyncio.sleep(10))
    async with ended_by(leaving):
        await asyncio.sleep(0)
    assert leaving.cancelled()


async def test_a_time_limit_inside_is_no_caller_that_leaves() -> None:
    leaving = asyncio.ensure_future(asyncio.sleep(10))
    with pytest.raises(TimeoutError):
        async with ended_by(leaving), asyncio.timeout(0):
            await asyncio.sleep(10)
    assert leaving.cancelled()


async def test_a_failure_while_the_caller_leaves_is_the_failure() -> None:
    leaving = asyncio.get_running_loop().create_future()
    with pytest.raises(ZeroDivisionError):
        async with ended_by(leaving):
            try:
                leaving.set_result(None)
                await asyncio.sleep(10)
            finally:
                raise ZeroDivisionError
