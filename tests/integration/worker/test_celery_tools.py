"""Celery's own tools see the worker: remote control, events, AsyncResult."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading

import pytest
from celery import Celery
from celery.exceptions import TaskRevokedError
from tests.integration.worker.conftest import Caller, Worker

from longrun.clock import new_job_id
from longrun.errors import JobNotFound
from longrun.queues.celery.app import build_app
from longrun.queues.celery.backend import JobFailedError
from longrun.settings import Settings

#: Models of the worker that the tests share.
SHARED = "Sleeper,shout,Noop,fail,Lengths"


@pytest.fixture
def tools(module_settings: Settings) -> Celery:
    return build_app(module_settings.redis_url, module_settings.prefix)


async def test_inspect_sees_the_worker_and_its_running_job(shared: Caller, tools: Celery) -> None:
    job_id = await shared.submit("sleeper", seconds=1000)
    await shared.until(job_id, "running")
    inspect = tools.control.inspect(timeout=10, limit=1)
    pings = await asyncio.to_thread(inspect.ping)
    assert list(pings.values()) == [{"ok": "pong"}]
    # One worker answered, so the rest need not wait for others.
    inspect = tools.control.inspect(timeout=30, limit=1)
    (active,) = (await asyncio.to_thread(inspect.active)).values()
    assert [(task["id"], task["name"]) for task in active] == [(job_id, "longrun.sleeper")]
    (stats,) = (await asyncio.to_thread(inspect.stats)).values()
    assert stats["pool"]["lanes"]["default.sleeper"]["held"] == 1
    (queues,) = (await asyncio.to_thread(inspect.active_queues)).values()
    assert {"default.sleeper", "gpu.lengths"} <= {queue["name"] for queue in queues}
    await shared.store.records.cancel(job_id, "t")
    await shared.end(job_id)


async def test_a_task_is_found_by_its_id_and_counted(shared: Caller, tools: Celery) -> None:
    running = await shared.submit("sleeper", seconds=1000)
    await shared.until(running, "running")
    inspect = tools.control.inspect(timeout=30, limit=1)
    (found,) = (await asyncio.to_thread(inspect.query_task, running)).values()
    state, task = found[running]
    assert (state, task["name"], task["delivery_info"]["routing_key"]) == ("active", "longrun.sleeper", "default.sleeper")
    (reserved,) = (await asyncio.to_thread(inspect.reserved)).values()
    assert reserved == []
    (stats,) = (await asyncio.to_thread(inspect.stats)).values()
    assert stats["total"]["longrun.sleeper"] >= 1
    assert task["worker_pid"] in stats["pool"]["processes"]
    await shared.store.records.cancel(running, "t")
    await shared.end(running)
    # The store has the end a moment before the hub's thread hears of it.
    async with asyncio.timeout(60):
        while found:
            (found,) = (await asyncio.to_thread(inspect.query_task, running)).values()


async def test_a_worker_leaves_a_queue_and_comes_back(shared: Caller, tools: Celery) -> None:
    await shared.run("noop", x=1)
    await asyncio.to_thread(tools.control.cancel_consumer, "default.noop", reply=True)
    waiting = await shared.submit("noop", x=2)
    assert (await shared.run("shout", text="x")).output == b'"X"'
    await asyncio.sleep(1.5)  # a look at all lanes comes every second
    assert (await shared.read(waiting)).status == "queued"
    await asyncio.to_thread(tools.control.add_consumer, "default.noop", reply=True)
    assert (await shared.end(waiting)).output == b"2"


async def test_a_task_that_somebody_sends_with_celery_is_dropped(shared: Caller, tools: Celery, shared_worker: Worker) -> None:
    await shared.ready()
    await asyncio.to_thread(tools.send_task, "longrun.noop", queue="default.noop")
    assert (await shared.run("noop", x=3)).output == b"3"
    for _ in range(3000):
        if "names no job" in shared_worker.log.read_text():
            break
        await asyncio.sleep(0.02)
    assert "a message that names no job was dropped" in shared_worker.log.read_text()


async def test_it_is_dropped_too_where_no_job_waits(shared: Caller, tools: Celery, shared_worker: Worker) -> None:
    await shared.ready()
    dropped = shared_worker.log.read_text().count("names no job")
    await asyncio.to_thread(tools.send_task, "longrun.noop", queue="default.noop")
    for _ in range(3000):
        if shared_worker.log.read_text().count("names no job") > dropped:
            break
        await asyncio.sleep(0.02)
    assert shared_worker.log.read_text().count("names no job") == dropped + 1


async def test_the_celery_command_line_finds_the_application(shared: Caller, module_settings: Settings) -> None:
    await shared.ready()
    env = os.environ | {"LONGRUN_REDIS_URL": module_settings.redis_url, "LONGRUN_PREFIX": module_settings.prefix}
    command = [sys.executable, "-m", "celery", "-A", "longrun", "inspect", "ping"]
    done = await asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "pong" in done.stdout


async def test_revoke_with_terminate_stops_exactly_the_job_that_was_meant(shared: Caller, tools: Celery) -> None:
    meant, other = await shared.submit("shout", text="a", seconds=1000), await shared.submit("shout", text="b", seconds=2)
    await shared.until(meant, "running")
    await shared.until(other, "running")
    await asyncio.to_thread(tools.control.revoke, meant, terminate=True)
    assert (await shared.end(meant)).status == "canceled"
    job = await shared.end(other)
    assert (job.status, job.attempt) == ("succeeded", 1)


async def test_revoke_cancels_a_job_that_waits(shared: Caller, tools: Celery) -> None:
    running = await shared.submit("sleeper", seconds=1000)
    await shared.until(running, "running")
    waiting = await shared.submit("sleeper", seconds=1000)
    await asyncio.to_thread(tools.control.revoke, waiting)
    await asyncio.sleep(0.5)
    await shared.store.records.cancel(running, "t")
    assert (await shared.end(waiting)).status == "canceled"


async def test_events_tell_what_runs_when_they_are_on(shared: Caller, tools: Celery) -> None:
    seen: list[tuple[str, str]] = []
    stop = threading.Event()

    def listen() -> None:
        with tools.connection() as connection:
            receiver = tools.events.Receiver(connection, handlers={"*": lambda event: seen.append((event["type"], event.get("uuid", "")))})
            while not stop.is_set():
                try:
                    receiver.capture(limit=None, timeout=0.5, wakeup=False)
                except TimeoutError:
                    continue

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    while not seen:  # noqa: ASYNC110 - the worker's own heartbeat, received on a thread, says that the receiver hears
        await asyncio.sleep(0.05)
    job = await shared.run("shout", text="x", seconds=0.2)
    for _ in range(1200):
        if ("task-succeeded", job.id) in seen:
            break
        await asyncio.sleep(0.05)
    stop.set()
    await asyncio.to_thread(thread.join)
    assert [kind for kind, job_id in seen if job_id == job.id] == ["task-received", "task-started", "task-succeeded"]


async def test_async_result_tells_the_same_truth(shared: Caller, tools: Celery) -> None:
    done, failed = await shared.run("shout", text="hi"), await shared.run("fail", kind="other")
    running = await shared.submit("sleeper", seconds=1000)
    await shared.until(running, "running")
    queued = await shared.submit("sleeper", seconds=1000)
    assert [tools.AsyncResult(job_id).status for job_id in (done.id, failed.id, running, queued)] == [
        "SUCCESS",
        "FAILURE",
        "STARTED",
        "PENDING",
    ]
    assert await asyncio.to_thread(tools.AsyncResult(done.id).get, timeout=60) == "HI"
    with pytest.raises(JobFailedError, match="model-error"):
        await asyncio.to_thread(tools.AsyncResult(failed.id).get, timeout=60)
    await shared.store.records.cancel(queued, "t")
    with pytest.raises(TaskRevokedError):
        await asyncio.to_thread(tools.AsyncResult(queued).get, timeout=60)
    await shared.store.records.cancel(running, "t")


async def test_async_result_never_says_pending_for_a_job_that_does_not_exist(shared: Caller, tools: Celery) -> None:
    missing = tools.AsyncResult(new_job_id())
    assert missing.status == "UNKNOWN"
    with pytest.raises(JobNotFound):
        await asyncio.to_thread(missing.get, timeout=60)
