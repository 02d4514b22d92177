"""The measuring client, a process of its own: `python -m bench.client '{"task": "flood", "service": "longrun", "port": 8000, …}'`.

Prints one JSON object. Times are seconds, from the monotonic clock of this process.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from bench.dialects import ACCEPTED, DIALECTS, Dialect, End
from bench.errors import CheckError
from bench.wire import Wire, connect

POLL_EVERY = 0.01  # seconds between two status requests where the service cannot wait
GIVE_UP = 120.0  # seconds


async def flood(dialect: Dialect, port: int, *, clients: int, warm_up: float, seconds: float) -> dict[str, Any]:
    """Submit as fast as `clients` connections can, and count what is answered inside the window of `seconds` after `warm_up`."""
    start = time.monotonic() + warm_up
    end = start + seconds
    statuses: Counter[int] = Counter()
    accepted = 0

    async def one(wire: Wire) -> None:
        nonlocal accepted
        now = 0.0
        while now < end:
            answer = await wire.ask(dialect.submit)
            now = time.monotonic()
            statuses[answer.status] += 1
            accepted += answer.status in ACCEPTED and start <= now < end

    await _side_by_side(port, clients, one)
    return {"rate": accepted / seconds, "statuses": statuses}


async def latency(dialect: Dialect, port: int, *, warm_up: int, count: int) -> dict[str, Any]:
    """Seconds from sending a submit to knowing its result, one job at a time."""
    wire = await connect(port)
    took = []
    for _ in range(warm_up + count):
        start = time.monotonic()
        if dialect.submit_and_wait is not None:
            end = _checked(dialect.end((await wire.ask(dialect.submit_and_wait)).body))
        else:
            end = await _follow(dialect, wire, await _submit(dialect, wire))
        took.append(time.monotonic() - start)
        if not end.well:
            raise CheckError("a job did not succeed")
    wire.close()
    return {"took": took[warm_up:]}


async def to_the_end(dialect: Dialect, port: int, *, clients: int, count: int) -> dict[str, Any]:
    """Submit `count` jobs from `clients` connections, and then follow each of them to its end."""
    left = iter(range(count))
    ids: list[str] = []
    ends: list[End] = []
    submitted: list[float] = []
    start = time.monotonic()

    async def one(wire: Wire) -> None:
        own = []
        for _ in left:
            own.append(await _submit(dialect, wire))
        submitted.append(time.monotonic())
        for job_id in own:
            ends.append(await _follow(dialect, wire, job_id))
        ids.extend(own)

    await _side_by_side(port, clients, one)
    return {
        "submit_rate": count / (max(submitted) - start),
        "job_rate": count / (time.monotonic() - start),
        "distinct_ids": len(set(ids)),
        "succeeded": sum(end.well for end in ends),
        "first_attempts": sum(end.attempts == 1 for end in ends),
    }


async def _side_by_side(port: int, clients: int, one: Callable[[Wire], Awaitable[None]]) -> None:
    wires = await asyncio.gather(*(connect(port) for _ in range(clients)))
    try:
        await asyncio.gather(*(one(wire) for wire in wires))
    finally:
        for wire in wires:
            wire.close()


async def _submit(dialect: Dialect, wire: Wire) -> str:
    answer = await wire.ask(dialect.submit)
    if answer.status not in ACCEPTED:
        raise CheckError(f"a submit was answered with {answer.status}: {answer.body[:300]!r}")
    return str(json.loads(answer.body)["id"])


async def _follow(dialect: Dialect, wire: Wire, job_id: str) -> End:
    give_up = time.monotonic() + GIVE_UP
    while time.monotonic() < give_up:
        answer = await wire.ask(dialect.status(job_id))
        if answer.status != 200:
            raise CheckError(f"the status of {job_id} was answered with {answer.status}: {answer.body[:300]!r}")
        if end := dialect.end(answer.body):
            return end
        if not dialect.wait:
            await asyncio.sleep(POLL_EVERY)
    raise CheckError(f"{job_id} has not ended within {GIVE_UP:g} s")


def _checked(end: End | None) -> End:
    if end is None:
        raise CheckError("a submit with `Prefer: wait` was answered before the job had ended")
    return end


TASKS: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {"flood": flood, "latency": latency, "to_the_end": to_the_end}


def main(spec: dict[str, Any]) -> int:
    """Run one task and print its result."""

    async def run() -> dict[str, Any]:
        return await TASKS[spec.pop("task")](DIALECTS[spec.pop("service")], **spec)

    try:
        print(json.dumps(uvloop.run(run())))
    except (CheckError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
