"""Open streams are cut through their time limits."""

from __future__ import annotations

import asyncio

import pytest

from longrun.api.resources import cut


async def test_a_limit_that_is_cut_ends_what_runs_in_it() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as limit:
            asyncio.get_running_loop().call_soon(cut, limit)
            await asyncio.sleep(10)


async def test_a_limit_that_is_over_or_being_cut_is_left_alone() -> None:
    async with asyncio.timeout(None) as ended:
        await asyncio.sleep(0)
    cut(ended)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as limit:
            try:
                cut(limit)
                await asyncio.sleep(10)
            finally:
                cut(limit, 3.0)
