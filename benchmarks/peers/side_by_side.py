"""For clients that are asynchronous: many calls at once, as a web service makes them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
WIDTH = 64


async def side_by_side(items: Iterable[T], call: Callable[[T], Awaitable[R]]) -> list[R]:
    """`call` of each item, up to `WIDTH` at once; the results in some order."""
    results: list[R] = []
    left = iter(items)

    async def one() -> None:
        for item in left:
            results.append(await call(item))

    await asyncio.gather(*(one() for _ in range(WIDTH)))
    return results
