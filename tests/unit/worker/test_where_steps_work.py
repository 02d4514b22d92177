"""Where steps work and where they are refused; what a generator does with them; files of steps."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson
import pytest
from pydantic import BaseModel

from longrun.errors import LongrunError, StepRefused
from longrun.models import File, Job, batched, isolated_registry, model
from longrun.worker.runner.context import Context
from longrun.worker.runner.sync_executor import SyncExecutor

from .steps_played import CHILDREN, PlayedWorker, at_once

FILE = {
    "id": "file_" + "0" * 32,
    "url": "longrun-file:file_" + "0" * 32,
    "content_type": "text/plain",
    "size": 5,
    "digest": "sha-256=x",
    "name": "a.txt",
}


class Item(BaseModel):
    """One of a batch."""

    data: int = 0


with isolated_registry():

    @model
    def paints() -> File: ...

    @model
    @batched(max_size=4)
    def batch(items: list[Item], jobs: list[Job]) -> list[Any]:
        return [jobs[0].run(CHILDREN["draw"], data=1) for _ in items]

    @model
    @batched(max_size=4)
    async def batch_async(items: list[Item], jobs: list[Job]) -> list[Any]:
        return [await jobs[0].run(CHILDREN["draw"], data=1) for _ in items]

    @model
    async def forgets(job: Job) -> str:
        job.run(CHILDREN["draw"], data=1)
        return "done"

    @model
    async def cancels_what_it_began(job: Job) -> str:
        task = asyncio.create_task(job.run(CHILDREN["draw"], data=1))
        task.cancel()
        await asyncio.wait([task])
        return "done"

    @model
    def yields(job: Job) -> Iterator[int]:
        for n in range(3):
            yield job.run(CHILDREN["draw"], data=n)

    @model
    async def yields_async(job: Job) -> AsyncIterator[int]:
        for n in range(3):
            yield await job.run(CHILDREN["draw"], data=n)

    @model
    def forks(job: Job) -> int:
        job.run(CHILDREN["judge"], data=0)
        child = os.fork()
        if child == 0:
            try:
                job.run(CHILDREN["draw"], data=1)
            except LongrunError:
                os._exit(7)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    @model
    async def copies(job: Job) -> list[int]:
        first = await job.run(CHILDREN["draw"], data=1)
        with pytest.raises(TypeError, match="cannot be sent to another process"):
            pickle.dumps(job)
        return [first, await copy.deepcopy(job).run(CHILDREN["draw"], data=2)]

    @model
    def reads(job: Job) -> str:
        return bytes(job.run(paints).read()).decode()


@pytest.mark.parametrize("function", [batch, batch_async])
async def test_s40_a_batched_model_runs_no_steps(function: Any) -> None:
    worker = PlayedWorker(function, at_once).start()
    done = await worker.outcome()
    error = orjson.loads(done[3])
    assert (done[2], error["code"], error["step_code"]) == ("error", "step-failed", "not-supported")
    assert not worker.frames


def test_s44_a_model_that_needs_the_main_thread_runs_no_steps() -> None:
    spec = yields.__longrun__  # type: ignore[attr-defined]
    executor = SyncExecutor(spec, spec.instantiate(), Context(lambda *_: None), place=lambda steps: steps())
    executor.put([("job_1", "1/n", b"{}", b"", False)])
    (run,) = executor.runs.values()
    with pytest.raises(StepRefused, match="main_thread"):
        executor._port(run)


async def test_s39_a_step_that_is_never_awaited_fails_its_job() -> None:
    done = await PlayedWorker(forgets, at_once).start().outcome()
    assert (done[2], orjson.loads(done[3])["code"]) == ("error", "step-not-awaited")


async def test_s39_a_step_that_is_canceled_before_it_begins_was_not_forgotten() -> None:
    done = await PlayedWorker(cancels_what_it_began, at_once).start().outcome()
    assert done[2:4] == ("ok", b'"done"')


@pytest.mark.parametrize("function", [yields, yields_async])
async def test_a_generator_waits_between_what_it_yields_and_yields_it_again_at_a_replay(function: Any) -> None:
    worker = PlayedWorker(function).start()
    await worker.until(lambda: worker.parked)
    worker.end(worker.made[0], 10)
    await worker.until(lambda: len(worker.made) == 2 and worker.parked)
    assert worker.logs("output") == [{"value": 10}]
    worker.let_go()
    assert (await worker.outcome())[2] == "waited"
    later = worker.again(function, at_once).start()
    await later.until(lambda: later.parked)
    later.end(worker.made[1], 11)
    done = await later.outcome()
    assert done[2:4] == ("ok", b"[10,11,2]")
    assert later.logs("output") == [{"value": 10}, {"value": 11}, {"value": 2}]


async def test_a_copy_of_the_handle_runs_the_steps_of_the_same_run() -> None:
    worker = PlayedWorker(copies, at_once).start()
    assert (await worker.outcome())[2:4] == ("ok", b"[1,2]")
    assert len(worker.made) == 2


async def test_a_forked_child_runs_no_steps() -> None:
    worker = PlayedWorker(forks, at_once).start()
    assert (await worker.outcome())[2:4] == ("ok", b"7")
    assert len(worker.frames) == 1


async def test_where_the_file_of_a_step_lies_is_asked_when_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = PlayedWorker(reads, lambda *_: ("succeeded", orjson.dumps(FILE)))
    asked: list[Any] = []

    def files(n: int, ids: list[str]) -> None:
        asked.append(ids)
        known = {each: {**FILE, "key": "job_x/1/n/file"} for each in ids}
        worker.reply("files", n, orjson.dumps(known))

    monkeypatch.setattr(worker, "_on_files", files, raising=False)
    opened: list[str] = []

    def open_it(_: Any, ref: Any) -> Any:
        opened.append(ref.key)
        return __import__("io").BytesIO(b"bytes")

    monkeypatch.setattr("longrun.worker.runner.job_files.JobFiles.open", open_it)
    assert (await worker.start().outcome())[2:4] == ("ok", b'"bytes"')
    assert (asked, opened) == ([[FILE["id"]]], ["job_x/1/n/file"])


async def test_a_journal_is_read_before_the_code_begins() -> None:
    worker = PlayedWorker(yields, at_once, fields={"n:old": b"c job_x 0 1 00000000~:old.0~0"}).start()
    assert (await worker.outcome())[2] == "ok"
    assert [frame[0] for frame in worker.frames][:2] == ["history", "ask"]
    assert any("unused" in each["message"] for each in worker.logs())
