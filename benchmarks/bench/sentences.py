"""One HTTP request for each sentence: `python -m bench.sentences '{"service", "port", "connections", "warm_up", "save"}' < sentences.json`.

Prints seconds from the first request to the last answer; the vectors go to the file `save`, in the order of the sentences.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import orjson
import uvloop

from bench.dialects import request
from bench.errors import CheckError
from bench.wire import Wire, connect

POLL_EVERY = 0.05  # seconds


async def _ask(wire: Wire, message: bytes, *good: int) -> Any:
    answer = await wire.ask(message)
    if answer.status not in (good or (200,)):
        raise CheckError(f"{message[:60]!r} was answered with {answer.status}: {answer.body[:300]!r}")
    return orjson.loads(answer.body)


async def _longrun(wire: Wire, text: str) -> list[float]:
    job = await _ask(wire, request("POST", "/api/v1/models/minilm/jobs", {"Prefer": "wait=60"}, {"input": {"text": text}}))
    if job["status"] != "succeeded":
        raise CheckError(f"a job is {job['status']}: {job.get('error')}")
    vector: list[float] = job["output"]
    return vector


async def _litserve(wire: Wire, text: str) -> list[float]:
    vector: list[float] = (await _ask(wire, request("POST", "/predict", {}, {"text": text})))["vector"]
    return vector


async def _ray(wire: Wire, text: str) -> list[float]:
    vector: list[float] = (await _ask(wire, request("POST", "/", {}, {"text": text})))["vector"]
    return vector


async def _bentoml(wire: Wire, text: str) -> list[float]:
    vector: list[float] = (await _ask(wire, request("POST", "/embed", {}, {"texts": [text]})))[0]
    return vector


async def _bentoml_task(wire: Wire, text: str) -> list[float]:
    task = await _ask(wire, request("POST", "/embed_task/submit", {}, {"texts": [text]}))
    query = f"?task_id={task['task_id']}"
    state = "in_progress"
    while state == "in_progress":
        state = (await _ask(wire, request("GET", f"/embed_task/status{query}", {})))["status"]
        await asyncio.sleep(POLL_EVERY if state == "in_progress" else 0)
    if state not in ("success", "completed"):
        raise CheckError(f"a task is {state}")
    vector: list[float] = (await _ask(wire, request("GET", f"/embed_task/get{query}", {})))[0]
    return vector


SERVICES: dict[str, Callable[[Wire, str], Awaitable[list[float]]]] = {
    "longrun": _longrun,
    "litserve": _litserve,
    "ray": _ray,
    "bentoml": _bentoml,
    "bentoml_task": _bentoml_task,
}


async def run(texts: list[str], *, service: str, port: int, connections: int, warm_up: int, save: str) -> dict[str, float]:
    """Ask for all of them, after so many to warm up."""
    wires = await asyncio.gather(*(connect(port) for _ in range(connections)))

    async def all_of(some: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = [[]] * len(some)
        left = iter(range(len(some)))

        async def one(wire: Wire) -> None:
            for at in left:
                vectors[at] = await SERVICES[service](wire, some[at])

        await asyncio.gather(*(one(wire) for wire in wires))
        return vectors

    await all_of(texts[:warm_up])
    begun = time.monotonic()
    vectors = await all_of(texts)
    seconds = time.monotonic() - begun
    np.save(save, np.asarray(vectors, dtype=np.float32))
    return {"seconds": seconds}


if __name__ == "__main__":
    try:
        print(json.dumps(uvloop.run(run(json.load(sys.stdin), **json.loads(sys.argv[1])))))
    except (CheckError, OSError) as error:
        sys.exit(str(error))
