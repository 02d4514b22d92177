"""Jobs by Longrun's own client inside a process: `python -m bench.enqueue COUNT TEXT` prints how many a second.

Settings come from the environment, as in an application. Many calls at once, as a web service makes them.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from noop import noop
from peers.side_by_side import side_by_side

import longrun


async def enqueue(count: int, text: str) -> float:
    """Submit; jobs a second."""
    begun = time.perf_counter()
    jobs = await side_by_side(range(count), lambda _: longrun.submit(noop, text=text))
    took = time.perf_counter() - begun
    if len({job.id for job in jobs}) != count:
        raise RuntimeError(f"{len(jobs)} jobs were accepted, not {count}")
    return count / took


if __name__ == "__main__":
    print(json.dumps(asyncio.run(enqueue(int(sys.argv[1]), sys.argv[2]))))
