"""Batches of the client through a network that cuts: one batch however often it is sent, and each result once."""

from __future__ import annotations

import asyncio
import json
import random

from tests.chaos.proxy import Proxy
from tests.integration.api.conftest import PlayedWorker

from longrun.client import AsyncClient


async def test_a_batch_whose_answer_is_lost_is_sent_again_and_is_one(far: AsyncClient, client: AsyncClient, proxy: Proxy) -> None:
    lost = await asyncio.to_thread(proxy.swallow_reply, b"Idempotency-Key")

    batch = await far.batch("echo", ({"value": number} for number in range(3)))

    assert lost.done.is_set()
    page = await client.request("GET", "/batches")
    assert [each["id"] for each in page["batches"]] == [batch.id]
    assert len([job async for job in client.jobs()]) == 3


class Once(random.Random):
    """A die that falls on nothing once, at the throw of that number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.left = number

    def random(self) -> float:
        self.left -= 1
        return 0.0 if self.left == 0 else 1.0


async def test_a_batch_that_is_cut_while_it_is_sent_is_sent_again_as_a_whole(far: AsyncClient, client: AsyncClient, proxy: Proxy) -> None:
    dice, text = Once(5), "x" * 1000
    proxy.drop_some(0.5, dice)

    batch = await far.batch("story", ({"prompt": f"{number} {text}"} for number in range(2000)))

    assert dice.left < 0
    assert batch.counts["total"] == 2000
    assert len((await client.request("GET", "/batches"))["batches"]) == 1


async def test_each_result_is_given_once_and_in_order_however_often_the_connection_breaks(
    far: AsyncClient, client: AsyncClient, proxy: Proxy, worker: PlayedWorker
) -> None:
    count, text = 300, "y" * 2000
    batch = await far.batch("echo", ({"value": number} for number in range(count)))
    jobs = [job.id async for job in client.jobs()]
    while len(jobs) < count:  # they are made while we go on
        await asyncio.sleep(0.05)
        jobs = [job.id async for job in client.jobs()]
    numbers = {item.id: item.index async for item in batch.results(partial=True)}
    for job_id in jobs:
        await worker.succeed(job_id, json.dumps({"number": numbers[job_id], "text": text}).encode())

    await asyncio.to_thread(proxy.cut_after, *(20_000 + 7 * cut for cut in range(20)))
    items = [item async for item in batch.results(timeout=60)]

    assert proxy.cuts == 20
    assert [(item.index, item.output["number"]) for item in items] == [(number, number) for number in range(count)]
