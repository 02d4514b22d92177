"""What is done with a large input takes long, and the event loop serves everybody: it is done on a thread, one at a time.

A thread helps only between the calls of Python code: the libraries that read JSON and check inputs keep the interpreter for as long as one
call of theirs takes. `LONGRUN_MAX_ITEMS` bounds that, and the checks of large inputs are made so that they call Python often
(`longrun.models.large`). One at a time, because each may need a hundred megabytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from longrun.models.large import LARGE

P = ParamSpec("P")
T = TypeVar("T")

_thread = ThreadPoolExecutor(1, "longrun-large")


async def aside(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` returns. `size`: bytes of the input that it is about; up to `LARGE` it takes a few milliseconds, and no thread."""
    if size <= LARGE:
        return work(*args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_thread, partial(work, *args, **kwargs))
