"""What a job with a large picture costs the store: its bytes must not be in there."""

from __future__ import annotations

import asyncio
import io
import os

import httpx
from PIL import Image

from bench.errors import CheckError
from bench.figures import Figure
from bench.plan import Plan, say
from bench.stage import Stage
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.store import Store

SIDE = 2583  # pixels of a picture of 20 MB, three bytes each
NOTE = (
    "Memory of the store's keys for each queued job: record, ticket, its places in indexes, and the record of the file. The picture "
    "came in a form."
)


def measure(plan: Plan) -> list[Figure]:
    """Kilobytes of the store for each job, with a picture of 20 MB and without one."""
    rounds = []
    for number in range(plan.rounds):
        rounds.append(_round(plan))
        say(f"  round {number + 1}: {rounds[-1][0]:.3g} KB with a picture, {rounds[-1][1]:.3g} KB without")
    with_picture, without = ([each[side] for each in rounds] for side in (0, 1))
    what = "store bytes of a job with a 20 MB picture"
    return [Figure("large values", what, "KB", "the same job without it", with_picture, without, better="lower", note=NOTE)]


def _round(plan: Plan) -> tuple[float, float]:
    with Stage() as stage:
        url = stage.valkey()
        port, _ = stage.longrun_api_process(url, stage.PICTURES)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1/models/look", trust_env=False, timeout=60) as client:
            held = io.BytesIO()
            Image.frombytes("RGB", (SIDE, SIDE), os.urandom(SIDE * SIDE * 3)).save(held, "BMP")
            picture = held.getvalue()
            _submit(client, picture)  # what the first of its kind makes is not the cost of one more
            before = _used(url)
            for _ in range(plan.pictures):
                _submit(client, picture)
            between = _used(url)
            for _ in range(plan.pictures):
                _submit(client, None)
            after = _used(url)
    return (between - before) / plan.pictures / 1024, (after - between) / plan.pictures / 1024


def _submit(client: httpx.Client, picture: bytes | None) -> None:
    if picture is None:
        answer = client.post("/jobs", json={"input": {"text": "x"}})
    else:
        answer = client.post("/jobs", data={"text": "x"}, files={"picture": ("noise.bmp", picture)})
    if answer.status_code != 202:
        raise CheckError(f"a submit was answered with {answer.status_code}: {answer.text[:300]}")


def _used(url: str) -> int:
    """Bytes that the store's keys take, by MEMORY USAGE: what INFO tells has buffers in it that come and go."""

    async def ask() -> int:
        store = Store(url, Settings(), ticket_template(), timeout=30)
        total, cursor = 0, b"0"
        try:
            while True:
                cursor, keys = await store.connection.command("SCAN", cursor, "COUNT", "1000")
                for key in keys:
                    total += await store.connection.command("MEMORY", "USAGE", key, "SAMPLES", "0") or 0
                if cursor in (b"0", "0", 0):
                    return total
        finally:
            await store.close()

    return asyncio.run(ask())
