"""Steps of a stop that fail after they were taken: what is open must be closed all the same, at the end of the test."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def failing_step(number: int, real: Callable[..., Any], taken: list[int], failing: int) -> Callable[..., Any]:
    """`real`, which enters its number in `taken`. If that is `failing`,
    the first call, or the await of what it gives, ends with RuntimeError."""

    def step(*args: Any, **options: Any) -> Any:
        taken.append(number)
        given = real(*args, **options)
        if number != failing or taken.count(number) > 1:
            return given
        if not inspect.isawaitable(given):
            raise RuntimeError("injected")

        async def fail() -> None:
            await given
            raise RuntimeError("injected")

        return fail()

    return step
