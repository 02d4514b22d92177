"""S1 to S7: a parent runs again from its top, and what it asked for before is found. The worker lets it go at every wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent

import pytest
from redis.asyncio import Redis
from tests.integration.steps.conftest import BOTH, Service, Steps, caller_of

APP = Path(__file__).with_name("models_that_replay.py")
WORKERS = [("--rehearse",)]
PAID_ONCE = {"child": 1, "local": 1, **{f"many{n}": 1 for n in range(5)}, "last": 1}
EVERY_KIND = ["child done", "local paid", None, "said", *(f"many{n} done" for n in range(5)), "last done"]


def paid(steps: Steps) -> dict[str, int]:
    return {name: times for name, times in steps.calls.items() if name not in ("flow", "replayed")}


async def runs(steps: Steps, kind: str) -> str:
    """A flow whose own code runs, after all its steps but one."""
    job_id = await steps.submit(f"every_kind{kind}")
    await steps.step(job_id, "s:word")
    assert (await steps.post(job_id, "signals/word", "said")).status_code == 200
    await steps.called("replayed")
    return job_id


@BOTH
async def test_s01_what_ended_is_never_made_or_called_again(steps: Steps, service: Service, kind: str) -> None:
    """Let go at every wait, and killed while its code runs."""
    job_id = await runs(steps, kind)
    children = {step["id"] for step in await steps.tree(job_id)}
    before = steps.calls["flow"]
    assert before >= 4, "it was let go"
    await steps.kill("replayed")
    await steps.called("replayed", 2)
    assert (steps.calls["flow"], len(await steps.tree(job_id))) == (before + 1, 9), "all was answered from the journal"
    steps.open("running")
    await steps.called("last")
    steps.open("last")
    assert await steps.output(job_id) == EVERY_KIND
    assert paid(steps) == PAID_ONCE
    assert children < {step["id"] for step in await steps.tree(job_id)}


@BOTH
async def test_s01_what_is_asked_for_again_is_answered_in_one_trip(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"many{kind}")
    await steps.step(job_id, "s:word")
    await steps.asleep(job_id)
    ask = f"EVALSHA {steps.store.connection.scripts['ask'].sha} "
    asked = []
    client = Redis.from_url(steps.store.connection.url)
    async with client.monitor() as monitor:
        await steps.post(job_id, "signals/word", "said")
        while not asked or "s:word" not in asked[-1]:
            command = (await monitor.next_command())["command"]
            if command.startswith(ask) and job_id in command:
                asked.append(command)
    await client.aclose()
    assert await steps.output(job_id) == 60
    assert [command.count(" child work:") for command in asked] == [60, 0]


@pytest.mark.slow
@pytest.mark.parametrize("lease", [2])
@BOTH
async def test_s01_nor_after_a_deploy_or_the_loss_of_a_worker(own: Service, mine: Steps, kind: str) -> None:
    own.start()
    job_id = await runs(mine, kind)
    own.restart()
    await mine.called("replayed", 2)
    own.kill_worker()
    own.start()
    await mine.called("replayed", 3)
    mine.open("running")
    await mine.called("last")
    mine.open("last")
    assert await mine.output(job_id) == EVERY_KIND
    assert paid(mine) == PAID_ONCE


@pytest.mark.parametrize("flow", ["shuffled", "shuffled_calls", "shuffled_calls_sync"])
async def test_s02_steps_in_another_order_are_the_same_steps(steps: Steps, flow: str) -> None:
    job_id = await steps.submit(flow, input={"to": str(steps.to)})
    for n in range(4):
        await steps.called(f"two{n}")
        steps.open(f"two{n}")
    assert await steps.output(job_id) == [f"two{n} done" for n in range(4)]
    assert steps.calls["flow"] >= 2
    assert {times for name, times in steps.calls.items() if name != "flow"} == {1}, "each was paid once"
    assert not [step for step in await steps.tree(job_id) if step["unused"]]
    assert await steps.warnings(job_id) == []


@BOTH
async def test_s03_inputs_that_vary_are_found_by_place_with_a_warning(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"varied{kind}")
    one, two, other, last = await steps.output(job_id)
    assert (one[:4], two[:4], other[:4], last) == ("one-", "two-", "two-", "last done") and two != other
    assert steps.calls["flow"] >= 3
    called = [name for name, _ in steps.lines() if name != "flow"]
    assert sorted(f"{name} done" for name in called) == sorted([one, two, other, last]), "none was paid again"
    warnings = await steps.warnings(job_id)
    assert warnings and all(warning.startswith("step-input-changed: ") for warning in warnings)


EDITED = """
from pathlib import Path
from typing import Any
from longrun import Job, model
from models_for_steps import both, costly, work

@both()
async def edited(job: Any, to: str, n: int) -> list[str]:
    found = [await job.run(work, name="kept", to=to)]
    {steps}
    return [*found, await job.run(work, name="last", to=to)]
"""
BEFORE = 'found.append(await job.run(costly, name="old", to=to)); await job.wait_for("go")'
OTHER_PROMPT = 'found.append(await job.run(costly, name="new", to=to)); await job.wait_for("go")'
OTHER_STEP = 'found.append(await job.run(work, name="new", to=to)); await job.wait_for("go")'
PENDING = 'found.append(await job.run(work, name="old", to=to, wait=True))'
NAMED = 'found += [await job.run(costly, name=name, to=to, key=name) for name in ("old", "two")]; await job.wait_for("go")'
RENAMED = (
    'found += [await job.run(costly, name=name, to=to, key=key) for name, key in (("changed", "old"), ("new", "three"))]'
    '; await job.wait_for("go")'
)
REMOVED = ""


@asynccontextmanager
async def edited(own: Service, to: Path, edit: tuple[str, str], kind: str) -> AsyncIterator[tuple[Steps, str]]:
    """A flow that waits, and the same job in code that was edited meanwhile; it goes on. Its steps run elsewhere."""
    own.app, (before, after) = own.folder / "edited.py", edit
    await asyncio.to_thread(link, own.folder)
    await write(own.app, before)
    own.start("--queues", "work")
    own.start("--rehearse", "--queues", "default")
    async with caller_of(own, to) as mine:
        job_id = await mine.submit(f"edited{kind}")
        await mine.called("old")
        if "go" in before:
            await mine.step(job_id, "s:go")
        await mine.asleep(job_id)
        assert own.worker.stop() == 0
        await write(own.app, after)
        own.start("--rehearse", "--queues", "default")
        await mine.post(job_id, "signals/go", 1)
        yield mine, job_id


@pytest.mark.slow
@pytest.mark.parametrize("edit", [(OTHER_PROMPT, ["new 1"]), (OTHER_STEP, ["new done"]), (REMOVED, [])], ids=["prompt", "step", "removed"])
@BOTH
async def test_s04_in_edited_code_the_new_step_runs_and_the_old_one_is_unused(
    own: Service, to: Path, kind: str, edit: tuple[str, list[str]]
) -> None:
    after, new = edit
    async with edited(own, to, (BEFORE, after), kind) as (mine, job_id):
        assert await mine.output(job_id) == ["kept done", *new, "last done"]
        assert mine.calls == {"kept": 1, "old": 1, "last": 1, **{each.split()[0]: 1 for each in new}}
        unused = [step for step in await mine.tree(job_id) if step["unused"]]
        assert [(step["model"], step["usage"]["cost_usd"]) for step in unused] == [("costly", 0.25)]
        (warning,) = [each for each in await mine.warnings(job_id) if each.startswith("steps-unused")]
        assert unused[0]["key"] in warning and "cost_usd" in warning and "0.25" in warning


@pytest.mark.slow
@BOTH
async def test_s04_an_old_step_that_has_not_ended_is_stopped_at_the_end(own: Service, to: Path, kind: str) -> None:
    async with edited(own, to, (PENDING, OTHER_STEP), kind) as (mine, job_id):
        await mine.store.connection.command("ZADD", f"{mine.store.prefix}due", 0, job_id)  # it runs again before that has ended
        assert await mine.output(job_id) == ["kept done", "new done", "last done"]
        (unused,) = [step for step in await mine.tree(job_id) if step["unused"]]
        assert (await mine.until(unused["id"]))["status"] == "canceled"
        assert mine.calls == {"kept": 1, "old": 1, "new": 1, "last": 1}


@pytest.mark.slow
@BOTH
async def test_s05_the_author_renames_it_to_run_it_anew(own: Service, to: Path, kind: str) -> None:
    async with edited(own, to, (NAMED, RENAMED), kind) as (mine, job_id):
        assert await mine.output(job_id) == ["kept done", "old 1", "new 1", "last done"], "what has its old name, and what has a new one"


def link(folder: Path) -> None:
    (folder / "models_for_steps.py").write_text(Path(__file__).with_name("models_for_steps.py").read_text())


async def write(app: Path, steps: str) -> None:
    await asyncio.to_thread(app.write_text, dedent(EDITED).format(steps=steps))


@BOTH
async def test_s05_of_a_named_step_the_recorded_success_wins_with_the_warning(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"renamed{kind}")
    one, local, last = await steps.output(job_id)
    assert (one, last) == ("one-1 done", "last done")
    times = int(local.split()[-1])
    assert local == f"local paid {times}"
    assert steps.calls["flow"] > times
    assert (steps.calls["one-1"], steps.calls["local"], steps.calls["one-2"]) == (1, 1, 0)
    warnings = await steps.warnings(job_id)
    assert all(each.startswith("step-input-changed: ") and "rename it to run it anew" in each for each in warnings)
    assert any("'one'" in each for each in warnings) and any("'local'" in each for each in warnings)


@BOTH
async def test_s06_one_name_for_two_calls_is_one_step_or_a_conflict(steps: Steps, kind: str) -> None:
    job_id = await steps.submit(f"twice_named{kind}")
    assert await steps.output(job_id) == ["same done"] * 4
    assert (steps.calls["same"], len(await steps.tree(job_id))) == (1, 1)
    job_id = await steps.submit(f"conflicts{kind}")
    assert await steps.output(job_id) == ["a together", "a one by one", "b together", "b one by one", "l"]
    assert {name: times for name, times in steps.calls.items() if name != "same"} == {"a2": 1, "b2": 1, "local": 1}
    assert sorted(step["key"] for step in await steps.tree(job_id)) == ["l:l", "n:a2", "n:b2"], "nothing else was submitted"


@pytest.mark.parametrize("flow", ["equals", "equals_sync", "equal_branches"])
async def test_s07_the_same_call_twice_is_two_steps_which_keep_their_places(steps: Steps, flow: str) -> None:
    found, seen = await steps.output(await steps.submit(flow, input={"to": str(steps.to)}))
    assert found == seen
    assert sorted(found) == [f"x {n + 1}" for n in range(len(found))]
    assert steps.calls["x"] == len(found)
    assert steps.calls["flow"] >= 3
