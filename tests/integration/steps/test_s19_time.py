"""S19 to S22: limits of time, sleeps, and signals that come first."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.integration.steps.conftest import BOTH, Service, Steps
from tests.waiting import PATIENCE

APP = Path(__file__).with_name("models_that_wait_long.py")


async def ready(steps: Steps) -> None:
    """Until a worker has run something."""
    assert (await steps.run("work", input={"name": "ready", "to": str(steps.to)}))["status"] == "succeeded"


async def server_ms(steps: Steps) -> int:
    seconds, micros = await steps.store.connection.command("TIME")
    return int(seconds) * 1000 + int(micros) // 1000


@pytest.mark.slow
@BOTH
async def test_s19_timeout_counts_running_time_alone_and_stands_still_while_it_waits(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"computes{kind}")
    await steps.called("child")
    await asyncio.sleep(3.5)  # longer than its timeout
    assert (await steps.job(job_id))["status"] == "waiting"
    steps.open("child")
    assert await steps.output(job_id) == "done"


@pytest.mark.slow
@BOTH
async def test_s19_running_time_is_carried_over_a_let_go(own: Service, mine: Steps, kind: str) -> None:
    own.start("--rehearse")
    job_id = await mine.submit(f"computes{kind}")
    await mine.called("child")
    await mine.asleep(job_id)
    ran = int(await mine.field(job_id, "ran") or 0)
    assert 0 < ran < 3000
    # As if it had run that long before.
    await mine.store.connection.command("HSET", f"{mine.store.prefix}job:{job_id}", "ran", 2900)
    mine.open("child")
    job = await mine.until(job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "timeout")


@BOTH
async def test_s19_a_resident_parent_gets_its_soft_limit_while_it_waits_and_may_return_what_it_has(steps: Steps, kind: str) -> None:
    await ready(steps)
    job_id = await steps.submit(f"partial{kind}", policy={"total_timeout": 1.0})
    await steps.called("child")
    job = await steps.until(job_id)
    assert (job["status"], job["output"]) == ("succeeded", "so far")
    (step,) = await steps.tree(job_id)
    assert (await steps.until(step["id"]))["status"] in ("canceled", "expired", "failed"), "its tree is stopped"


@pytest.mark.slow
@BOTH
async def test_s19_one_that_is_asleep_ends_expired_outright_and_its_tree_is_stopped(own: Service, mine: Steps, kind: str) -> None:
    own.start("--rehearse")
    await ready(mine)
    job_id = await mine.submit(f"partial{kind}", policy={"total_timeout": 2.0})
    await mine.called("child")
    await mine.asleep(job_id)
    (step,) = await mine.tree(job_id)
    job = await mine.until(job_id)
    assert (job["status"], job["error"]["code"]) == ("expired", "expired")
    assert (mine.calls["flow"], mine.calls["limit"]) == (1, 0), "its code is not run for that"
    assert (await mine.until(step["id"]))["status"] != "succeeded"


@BOTH
async def test_s19_the_total_of_a_child_is_cut_to_what_its_parent_has_left(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"children{kind}", policy={"total_timeout": 900})
    await steps.called("a")
    await steps.called("b")
    end = datetime.fromisoformat((await steps.job(job_id))["created_at"]).timestamp() + 900
    for step in await steps.tree(job_id):
        child = await steps.job(step["id"])
        left = datetime.fromisoformat(child["created_at"]).timestamp() + child["policy"]["total_timeout"]
        assert 0 < left <= end + 1
    await steps.post(job_id, "cancel")


async def due_of(steps: Steps, job_id: str, key: str) -> int:
    """When a sleep or wait is over, as the journal has it."""
    await steps.step(job_id, key)
    (entry,) = [value for name, value in (await steps.journal(job_id)).items() if name.startswith(key)]
    return int(entry.split()[1])


@BOTH
async def test_s20_deadlines_are_fixed_at_the_first_call_by_the_servers_clock(steps: Steps, kind: str) -> None:
    before = await server_ms(steps)
    sleeping = await steps.submit(f"sleeps{kind}")
    due = await due_of(steps, sleeping, "z:")
    assert before + 3 * 86_400_000 <= due <= await server_ms(steps) + 3 * 86_400_000
    steps.open("before")
    asking = await steps.submit(f"asks{kind}")
    until = await due_of(steps, asking, "s:ok")
    assert before + 7_200_000 <= until <= await server_ms(steps) + 7_200_000
    await steps.kill("flow", steps.calls["flow"])
    for job_id, key, first in ((sleeping, "z:", due), (asking, "s:ok", until)):
        await steps.asleep(job_id)
        assert await due_of(steps, job_id, key) == first
        shown = datetime.fromisoformat((await steps.step(job_id, key))["until"]).timestamp()
        assert abs(shown * 1000 - first) < 1000
        await steps.store.connection.command("ZADD", f"{steps.store.prefix}due", await server_ms(steps), job_id)
    await steps.called("flow", 4)
    for job_id, key, first in ((sleeping, "z:", due), (asking, "s:ok", until)):
        await steps.until(job_id, "waiting")
        assert await due_of(steps, job_id, key) == first, "another run does not move it"
    await steps.post(asking, "signals/ok", {"ok": True})
    assert await steps.output(asking) is True
    await steps.post(sleeping, "cancel")


async def move(steps: Steps, job_id: str, key: str, due: int) -> None:
    """The server's clock goes on to shortly before this is due: what is due is moved instead."""
    store = steps.store
    ((name, entry),) = [(name, value) for name, value in (await steps.journal(job_id)).items() if name.startswith(key)]
    kind, _, rest = entry.split(" ", 2)
    await store.connection.command("HSET", f"{store.prefix}steps:{job_id}", name, f"{kind} {due} {rest}")
    await store.connection.command("HSET", f"{store.prefix}job:{job_id}", "until", due)
    await store.connection.command("ZADD", f"{store.prefix}due", due, job_id)


@pytest.mark.slow
@BOTH
async def test_s21_a_sleep_of_days_goes_on_after_deploys_when_it_is_due(own: Service, mine: Steps, kind: str) -> None:
    own.start()
    job_id = await mine.submit(f"sleeps{kind}")
    due = await due_of(mine, job_id, "z:")
    own.restart()
    await mine.asleep(job_id)  # at the first deploy
    for _ in range(2):
        await ready(mine)
        own.restart()
        assert (await due_of(mine, job_id, "z:"), mine.calls["flow"]) == (due, 1)
    soon = await server_ms(mine) + 1500
    await move(mine, job_id, "z:", soon)
    assert await mine.output(job_id) == "slept"
    job: dict[str, Any] = await mine.job(job_id)
    late = datetime.fromisoformat(job["finished_at"]).timestamp() * 1000 - soon
    assert late >= 0 and (mine.calls["flow"], mine.calls["woke"]) == (2, 1)
    started = [event for event in await mine.events(job_id, "started") if event["data"]["resumed"]]
    assert len(started) == 1


@BOTH
async def test_s22_a_signal_before_the_wait_is_kept_and_the_wait_returns_at_once(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"asks{kind}")
    await steps.called("before")
    assert (await steps.post(job_id, "signals/ok", {"ok": True})).status_code == 200
    steps.open("before")
    assert await steps.output(job_id) is True
    assert not [event for event in await steps.events(job_id, "waiting") if "ok" in event["data"]["for"]], "it did not wait"


async def test_s22_a_hundred_names_of_64_kb_are_kept(steps: Steps) -> None:
    job_id = await steps.submit("asks")
    await steps.called("before")
    large = "x" * (64 * 1024 - 2)
    for n in range(100):
        answer = await steps.post(job_id, f"signals/other{n}", large if n == 0 else n)
        assert answer.status_code == 200, (n, answer.text)
    for name, value, status in (("more", 1, 409), ("other0", large, 200)):
        assert (await steps.post(job_id, f"signals/{name}", value)).status_code == status
    assert not (await steps.post(job_id, "signals/large", large + "x")).is_success
    await steps.post(job_id, "cancel")


@BOTH
async def test_s22_an_early_value_that_does_not_fit_is_dropped_with_a_warning_and_the_wait_stays_open(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"asks{kind}")
    await steps.called("before")
    assert (await steps.post(job_id, "signals/ok", {"ok": "perhaps"})).status_code == 200
    steps.open("before")
    end = time.monotonic() + PATIENCE
    while not (asked := (await steps.job(job_id))["asks"]):
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    assert asked[0]["name"] == "ok"
    while not (warnings := await steps.warnings(job_id)):
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    assert any("ok" in warning for warning in warnings)
    await steps.until(job_id, "waiting")  # it is dropped before the job waits again
    assert (await steps.post(job_id, "signals/ok", {"ok": False})).status_code == 200
    assert await steps.output(job_id) is False
