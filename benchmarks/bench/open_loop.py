"""Load that does not wait for answers: `python -m bench.open_loop '{"port", "rate", "seconds", "connections"}'`, for Longrun.

Prints the seconds that each job took from when it was due. With a `rate` of 0 each connection submits one job after the other, and the
jobs a second are printed: the capacity.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

from bench.dialects import LONGRUN
from bench.errors import CheckError
from bench.wire import Wire, connect

WARM_UP = 1.0  # seconds


async def _one(wire: Wire) -> None:
    assert LONGRUN.submit_and_wait is not None
    answer = await wire.ask(LONGRUN.submit_and_wait)
    end = LONGRUN.end(answer.body) if answer.status == 200 else None
    if end is None or not end.well:
        raise CheckError(f"a job was answered with {answer.status}: {answer.body[:200]!r}")


async def capacity(wires: list[Wire], seconds: float) -> dict[str, Any]:
    """Jobs a second when each connection waits for its answer."""
    start = time.monotonic() + WARM_UP
    end, count = start + seconds, 0

    async def loop(wire: Wire) -> None:
        nonlocal count
        while (now := time.monotonic()) < end:
            await _one(wire)
            count += start <= now

    await asyncio.gather(*(loop(wire) for wire in wires))
    return {"rate": count / (time.monotonic() - start)}


async def load(wires: list[Wire], rate: float, seconds: float) -> dict[str, Any]:
    """A submit every `1 / rate` seconds. One that finds no free connection waits for it, and that counts."""
    free: asyncio.Queue[Wire] = asyncio.Queue()
    for wire in wires:
        free.put_nowait(wire)
    took: list[float] = []

    async def one(due: float) -> None:
        wire = await free.get()
        await _one(wire)
        took.append(time.monotonic() - due)
        free.put_nowait(wire)

    begun, jobs = time.monotonic() + 0.1, []
    for number in range(max(1, int(rate * seconds))):
        due = begun + number / rate
        if (left := due - time.monotonic()) > 0:
            await asyncio.sleep(left)
        jobs.append(asyncio.ensure_future(one(due)))
    await asyncio.gather(*jobs)
    return {"took": took}


async def run(port: int, rate: float, seconds: float, connections: int) -> dict[str, Any]:
    """One of both."""
    wires = list(await asyncio.gather(*(connect(port) for _ in range(connections))))
    return await (load(wires, rate, seconds) if rate else capacity(wires, seconds))


if __name__ == "__main__":
    try:
        print(json.dumps(uvloop.run(run(**json.loads(sys.argv[1])))))
    except (CheckError, OSError) as error:
        sys.exit(str(error))
