"""Rows F16, F27, F31, F34 and lost tickets: many jobs, many callers, many workers, and what they leave behind."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import orjson
import pytest
from tests.chaos.caller import Caller
from tests.chaos.check import judge
from tests.chaos.cluster import LEASE, PREFIX, Cluster
from tests.chaos.program import until

from longrun.clock import new_job_id
from longrun.jobs.policy import Policy
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.records import NewJob
from longrun.store.store import Store

pytestmark = pytest.mark.chaos


def lane(model: str, priority: int = 5) -> str:
    """Key of a ticket list."""
    return f"{PREFIX}default.{model}:{9 - priority}"


@pytest.mark.parametrize("share", [pytest.param("some", marks=pytest.mark.gate), "all"])
def test_jobs_whose_tickets_were_lost_run_all_the_same(cluster: Cluster, caller: Caller, share: str) -> None:
    ids = [caller.submit("grind", f"job {number}", 0.05) for number in range(20)]
    assert cluster.redis.llen(lane("grind")) == 20
    if share == "all":
        cluster.redis.delete(lane("grind"))
    else:
        for ticket in random.Random(7).sample(cluster.redis.lrange(lane("grind"), 0, -1), 8):
            cluster.redis.lrem(lane("grind"), 1, ticket)
    cluster.start_worker()
    # What overtakes them: jobs that come later and find their tickets in place.
    deadline = time.monotonic() + 60
    while caller.history.unfinished() and time.monotonic() < deadline:
        caller.submit("grind", "later", 0.0)
        time.sleep(0.5)
    caller.wait_for_all(within=60)
    judge(caller.collect())
    assert all(len([run for run in cluster.runs() if run.job_id == job_id]) == 1 for job_id in ids)


def commands_so_far(cluster: Cluster) -> int:
    stats: dict[str, Any] = cluster.redis.info("commandstats")
    return sum(int(stat["calls"]) for name, stat in stats.items() if name != "cmdstat_info")


async def submit_directly(cluster: Cluster, number: int, seconds: float) -> None:
    settings = Settings(redis_url=cluster.redis_url)
    store = Store(settings.redis_url, settings, ticket_template())
    data = orjson.dumps({"text": "one of many", "seconds": seconds})
    jobs = [NewJob(new_job_id(), "default", "grind", "default", 5, data, Policy().to_json()) for _ in range(number)]
    await store.ping()
    for i in range(0, number, 200):
        await asyncio.gather(*[store.records.submit(job) for job in jobs[i : i + 200]])
    await store.close()


def test_f16_behind_ten_thousand_jobs_a_submit_costs_the_same_and_an_urgent_one_is_served_next(cluster: Cluster, caller: Caller) -> None:
    cluster.api.freeze(tree=True)  # nobody else asks anything

    def cost_of_a_hundred() -> int:
        before = commands_so_far(cluster)
        asyncio.run(submit_directly(cluster, 100, 0.2))
        return commands_so_far(cluster) - before

    few = cost_of_a_hundred()
    asyncio.run(submit_directly(cluster, 10_000, 0.2))
    many = cost_of_a_hundred()
    assert many <= few
    cluster.api.thaw(tree=True)
    cluster.start_worker()
    until(lambda: len(cluster.runs()) >= 3, "the backlog is worked on", timeout=40)
    before = len(cluster.runs())
    urgent = [caller.submit("grind", f"urgent {number}", 0.0, priority=9) for number in range(3)]
    caller.wait_for(urgent, {"succeeded"}, within=40)
    order = [run.job_id for run in cluster.runs()]
    between = order[before : order.index(urgent[-1])]
    # One may have begun while the first of them was submitted, and one or two were claimed ahead of a runner that is never idle.
    others = [job_id for job_id in between if job_id not in urgent]
    assert len(others) <= 3 + 3, "an urgent job waits for what runs, not for what waits"
    judge(caller.collect(), ordered=True)


@pytest.mark.gate
def test_f27_a_hundred_submits_at_once_with_one_key_make_one_job(cluster: Cluster, caller: Caller) -> None:
    body = {"input": {"text": "once", "seconds": 0.2}, "metadata": {"key": "one-key"}}

    def submit(http: httpx.Client) -> httpx.Response:
        return http.post("/models/nap/jobs", json=body, headers={"Idempotency-Key": "one-key"})

    cluster.start_worker()
    limits = httpx.Limits(max_connections=100)
    with httpx.Client(base_url=f"{cluster.url}/api/v1", timeout=30, limits=limits) as http, ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda _: submit(http), range(100)))
        other = http.post("/models/nap/jobs", json={"input": {"text": "other", "seconds": 0.2}}, headers={"Idempotency-Key": "one-key"})
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert caller.submit("nap", "once", 0.2, key="one-key") == answers[0].json()["id"]
    caller.wait_for_all()
    judge(caller.collect())
    assert len(caller.jobs()) == len(cluster.runs()) == 1


def sizes(cluster: Cluster) -> dict[str, int]:
    """Every key that does not belong to a job, and how much is in it."""
    found: dict[str, int] = {}
    count = {b"zset": "zcard", b"set": "scard", b"list": "llen", b"hash": "hlen"}
    for key in cluster.redis.keys("*"):
        name = key.decode()
        if not name.startswith((f"{PREFIX}job:", f"{PREFIX}ev:", f"{PREFIX}idem:", f"{PREFIX}idx:", f"{PREFIX}expire")):
            verb = count.get(cluster.redis.type(key))
            found[name] = getattr(cluster.redis, verb)(key) if verb else 1
    return found


def test_f31_workers_that_come_and_go_leave_nothing_behind(cluster: Cluster, caller: Caller) -> None:
    steady = cluster.start_worker("--name", "steady")
    caller.submit("nap", "first", 0.0)
    caller.wait_for_all()
    before = sizes(cluster)
    for number in range(4):
        worker = cluster.start_worker("--name", f"guest-{number}")
        until(lambda worker=worker: "model ready" in worker.log.read_text(), "it is up", timeout=40)  # type: ignore[misc]
        caller.submit("nap", f"job {number}", 0.0)
        worker.kill_tree() if number % 2 else worker.stop()
    caller.wait_for_all()
    until(lambda: len(caller.get("/workers")["workers"]) == 1, "the dead are forgotten", timeout=LEASE * 3 + 20)
    judge(caller.collect())

    def more() -> dict[str, int]:
        # Wake lists hold at most one element, and may come and go. kombu notes each worker that can be asked by `celery inspect`,
        # and strikes it off when it stops; the name of one that was killed stays until no worker has run for an hour.
        # Who sweeps the files notes that for a minute, perhaps only after the first look. Marks stay for an hour.
        allowed = before | {f"{PREFIX}_kombu.binding.celery.pidbox": 1 + 2, f"{PREFIX}file-sweep": 1}
        return {
            key: size for key, size in sizes(cluster).items() if size > allowed.get(key, 0) and "wake:" not in key and "mark:" not in key
        }

    until(lambda: not more(), f"nothing is left of them: {more()}", timeout=20)
    assert steady.alive


def test_f34_a_job_never_expires_before_its_end_and_afterwards_it_is_gone_and_not_unknown(cluster: Cluster, caller: Caller) -> None:
    cluster.start_worker()
    short = {"policy": {"retain_for": 1}}
    streamed = caller.submit("spell", "a stream that lasts longer than it is kept", 4.0, follow=True, **short)
    waiting = caller.submit("grind", "kept until its end", 4.0, **short)
    seen: set[int] = set()
    deadline = time.monotonic() + 40
    while not {410} <= seen and time.monotonic() < deadline:
        seen |= {httpx.get(f"{cluster.url}/api/v1/jobs/{job_id}", timeout=10).status_code for job_id in (streamed, waiting)}
        time.sleep(0.05)
    until(lambda: all(gone(cluster, job_id) for job_id in (streamed, waiting)), "both are gone", timeout=20)
    assert seen == {200, 410}
    text = "a stream that lasts longer than it is kept"
    (heard,) = caller.history.streams[streamed]
    assert len(heard) >= len(text) + 2, "queued, started and every letter"
    caller.faults = [fault for fault in caller.faults if "410" not in fault]
    caller.history.accepted.clear()
    caller.collect()


def gone(cluster: Cluster, job_id: str) -> bool:
    paths = ("", "/result", "/output", "/attempts")
    return {httpx.get(f"{cluster.url}/api/v1/jobs/{job_id}{path}", timeout=10).status_code for path in paths} == {410}


def test_a_worker_that_is_frozen_with_tickets_in_hand_and_never_wakes_costs_no_job(cluster: Cluster, caller: Caller) -> None:
    frozen = cluster.start_worker(CHAOS_FAILPOINT="after:pop:3=stop")
    for number in range(12):
        caller.submit("nap", f"job {number}", 0.2)
    until(lambda: "failpoint" in frozen.log.read_text(), "it freezes", timeout=40)
    cluster.start_worker()
    caller.wait_for_all(within=60)
    judge(caller.collect())
    assert frozen.stop(signal.SIGKILL) == -signal.SIGKILL
