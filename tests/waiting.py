"""How tests wait: for what must happen, and for as long as a busy machine may need. No test says how fast something must be.

What happens in a second on an idle machine has all of `PATIENCE`. A test that must tell two ways apart by time, such as a wake-up from a
wait that is over, makes the wrong way take longer than that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

#: Seconds for what must happen.
PATIENCE = 60.0


async def until(ready: Callable[[], bool], what: str = "what was waited for", *, within: float = PATIENCE) -> None:
    """Wait until `ready()`; an AssertionError says `what` has not happened."""
    end = time.monotonic() + within
    while not ready():
        assert time.monotonic() < end, f"not within {within:g} s: {what}"
        await asyncio.sleep(0.02)


def wait_for(ready: Callable[[], bool], what: str = "what was waited for", *, within: float = PATIENCE) -> None:
    """As `until`, on a thread without an event loop."""
    end = time.monotonic() + within
    while not ready():
        assert time.monotonic() < end, f"not within {within:g} s: {what}"
        time.sleep(0.02)
