"""Many trees, many parents that wait, runaway trees, large results and long sleeps, through real workers."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.integration.steps.conftest import Service, Steps
from tests.waiting import PATIENCE

APP = Path(__file__).with_name("models_of_crowds.py")
pytestmark = pytest.mark.slow


async def submit_all(mine: Steps, model: str, count: int, **data: Any) -> list[str]:
    """Jobs of all priorities."""
    return [await mine.submit(model, input=data, priority=3 + number % 3) for number in range(count)]


async def ready(mine: Steps, own: Service) -> list[psutil.Process]:
    """Its runners, as soon as they are there."""
    own.start(LONGRUN_MAX_OUTPUT="100000")
    assert (await mine.run("leaf", input={"n": 1}))["status"] == "succeeded"
    return own.worker.runners


def memory(processes: list[psutil.Process]) -> int:
    return sum(process.memory_info().rss for process in processes)


@pytest.mark.parametrize(("model", "slots", "trees"), [("one", 1, 40), ("one_sync", 1, 20), ("eight", 8, 200), ("eight_sync", 8, 60)])
async def test_trees_whose_parents_and_steps_share_a_lane_end(own: Service, mine: Steps, model: str, slots: int, trees: int) -> None:
    roots = await submit_all(mine, model, trees, n=20)
    await ready(mine, own)
    most, end = 0, time.monotonic() + PATIENCE
    while True:
        statuses = await asyncio.gather(*(mine.field(each, "status") for each in roots))
        most = max(most, sum(each in ("running", "waiting", "asleep") for each in statuses))
        if all(each == "succeeded" for each in statuses):
            break
        assert "failed" not in statuses and time.monotonic() < end, statuses
    assert {(await mine.job(each))["output"] for each in roots} == {20}
    # Its steps go before roots that have not begun; those that were read one after the other may have ended meanwhile.
    assert most <= slots + 1 + (2 if slots > 1 else 0), f"{most} trees were open at once"


@pytest.mark.parametrize(("model", "parents", "most"), [("waits", 1000, 25), ("waits_sync", 200, 10)])
async def test_parents_that_wait_hold_no_slot_and_little_memory_and_are_let_go_at_once(
    own: Service, mine: Steps, model: str, parents: int, most: int
) -> None:
    runners = await ready(mine, own)
    before = memory(runners)
    jobs = await asyncio.gather(*(mine.submit(model, input={"n": each}) for each in range(parents)))
    for each in jobs:
        await mine.until(each, "waiting")  # all of them have begun: who waits holds no slot
    assert memory(runners) - before < most * 1_000_000
    assert own.worker.stop() == 0
    assert {await mine.field(each, "status") for each in jobs} == {"asleep"}
    assert {tuple(await mine.outcomes(each)) for each in (jobs[0], jobs[-1])} == {("waited",)}


async def test_a_runaway_tree_is_refused_and_the_store_stays_small(own: Service, mine: Steps) -> None:
    await ready(mine, own)
    before = await used(mine)
    root = await mine.submit("bomb", input={})
    found = await mine.output(root)
    assert "too-many-steps" in found
    assert int(await mine.field(root, "tree") or 0) == 1000
    assert max(int(each.split()[1]) for each in found if each.startswith("depth")) <= 10
    assert await used(mine) - before < 5_000_000


async def used(mine: Steps) -> int:
    """Memory of the store, in bytes."""
    text = (await mine.store.connection.command("INFO", "memory")).decode()
    return int(text.partition("used_memory:")[2].split()[0])


async def test_results_that_are_large_together_pass_by_pieces(own: Service, mine: Steps) -> None:
    await ready(mine, own)
    worker = psutil.Process(own.worker.process.pid)
    root, most = await mine.submit("reads", input={"n": 2000, "size": 50_000}), 0
    while await mine.field(root, "status") not in ("succeeded", "failed"):
        most = max(most, worker.memory_info().rss)
        await asyncio.sleep(0.02)
    assert await mine.output(root) == 100_000_000
    assert most < 150_000_000, f"{most / 1e6:.0f} MB in the worker"


async def two_workers(mine: Steps) -> None:
    """Until there are two."""
    while True:
        await asyncio.sleep(0.02)
        if len((await mine.store.records.overview())[0]) == 2:
            return


async def test_a_sleep_of_three_days_outlives_restarts_and_ends_at_its_time(own: Service, mine: Steps) -> None:
    await ready(mine, own)
    job = await mine.submit("sleeps", input={})
    await mine.until(job, "waiting")
    ((key, entry),) = (await mine.journal(job)).items()
    three_days = int(entry.split()[1])
    for number in range(5):
        own.start()
        await two_workers(mine)
        if number % 2:
            own.workers[-2].kill()
        else:
            assert own.workers[-2].stop() == 0
        assert await mine.journal(job) == {key: entry}, "its time is where it was"
    await mine.asleep(job)
    seconds, _ = await mine.store.connection.command("TIME")
    due = (int(seconds) + 2) * 1000
    prefix, command = mine.store.prefix, mine.store.connection.command
    assert three_days - due > 2 * 86_400_000
    await command("HSET", f"{prefix}steps:{job}", key, entry.replace(str(three_days), str(due)))
    await command("HSET", f"{prefix}job:{job}", "until", due)
    await command("ZADD", f"{prefix}timers:{job}", due, key)
    await command("ZADD", f"{prefix}due", due, job)
    assert await mine.output(job) == "awake"
    started = (await mine.store.records.read(job, "default")).started
    assert started is not None and started >= due
    print(f"went on {started - due} ms after its time")
