"""The models of the rows about waiting and dying: one waits in a thread, one without."""

import asyncio
import time

from longrun import model


@model(timeout=120)
def sleeper(seconds: float) -> float:
    """Wait."""
    time.sleep(seconds)
    return seconds


@model(concurrency=2000)
async def nap(seconds: float) -> float:
    """Wait, as a call to another service does."""
    await asyncio.sleep(seconds)
    return seconds
