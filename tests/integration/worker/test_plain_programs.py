"""What runs in plain Python runs as a job too, and whatever it does to its process costs its own job alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.integration.worker.conftest import Caller, Worker
from tests.integration.worker.plain_programs import PROGRAMS

from longrun.jobs.record import JobRecord

APP = Path(__file__).with_name("models_of_plain_programs.py")
KINDS = ["program", "program_generator", "program_batch", "program_async", "program_async_generator", "program_async_batch"]
#: Programs that begin many processes, or wait: once is enough for the kinds that share a way to call the model's code.
SLOW = {"pool_spawn", "pool_forkserver", "process_terminate_spawn", "process_terminate_forkserver", "job_sent_to_a_spawned_process"}
#: In a coroutine `asyncio.run` is refused; the others make a loop of their own in a child, as here.
CASES = [
    pytest.param(kind, name, marks=() if kind in ("program", "program_async") else pytest.mark.slow)
    for name in PROGRAMS
    for kind in KINDS
    if name not in SLOW or kind in ("program", "program_async")
]


def output(job: JobRecord) -> Any:
    assert job.status.value == "succeeded", job.error
    return orjson.loads(job.output or b"null")


def error_of(job: JobRecord) -> Any:
    return orjson.loads(job.error or b"{}")


@pytest.mark.parametrize(("kind", "name"), CASES)
async def test_a_program_does_as_in_plain_python(shared: Caller, kind: str, name: str) -> None:
    said = output(await shared.run(kind, name=name))
    assert said == (["nobody!", "fine"] if kind.endswith("generator") else "fine")


@pytest.mark.parametrize("kind", KINDS)
async def test_context_variables_are_those_of_one_call(shared: Caller, kind: str) -> None:
    ids = [await shared.submit(kind, name="context_is_clean") for _ in range(6)]
    for job_id in ids:
        said = output(await shared.end(job_id))
        assert said == (["nobody!", "fine"] if kind.endswith("generator") else "fine")


@pytest.mark.parametrize("how", ["alarm", "loop", "context", "context", "child", "fine"])
@pytest.mark.parametrize("kind", ["main_function", "main_generator"])
async def test_a_model_that_asks_for_the_main_thread_has_it(shared: Caller, kind: str, how: str) -> None:
    assert output(await shared.run(kind, how=how)) in ("fine", ["fine"])


async def test_further_functions_and_batches_have_main_threads_of_their_own(shared: Caller) -> None:
    ids = [await shared.submit("needs_the_main_thread_and_has_it", number=n) for n in range(2)]
    ids += [await shared.submit("main_batch", name="x") for _ in range(5)]
    assert {output(await shared.end(job_id)) for job_id in ids} == {"fine"}


async def test_a_handler_that_raises_between_two_jobs_costs_nobody_anything(shared: Caller, shared_worker: Worker) -> None:
    before = {runner.pid for runner in shared_worker.runners}
    for _ in range(3):
        assert output(await shared.run("main_function", how="leaves an alarm")) == "fine"
        for _ in range(1000):
            if "a signal handler of the model raised between two jobs" in shared_worker.log.read_text():
                break
        job = await shared.run("main_function", how="fine")
        assert (job.attempt, {runner.pid for runner in shared_worker.runners}) == (1, before)


async def test_an_exit_on_the_main_thread_ends_the_job_alone(shared: Caller) -> None:
    assert error_of(await shared.run("main_function", how="exits"))["code"] == "model-error"
    assert output(await shared.run("main_function", how="fine")) == "fine"


@pytest.mark.parametrize("how", ["signal", "loop", "library"])
async def test_an_error_about_the_main_thread_names_the_option(shared: Caller, shared_worker: Worker, how: str) -> None:
    job = await shared.run("needs_the_main_thread", how=how)
    assert job.status.value == "failed"
    assert "main_thread=True" in error_of(job)["debug"]
    assert [line for line in shared_worker.log.read_text().splitlines() if job.id in line and "main_thread=True" in line]
    assert "main_thread=True" not in error_of(job)["detail"]


async def test_what_import_and_load_have_made_belongs_to_the_thread_that_runs_jobs(shared: Caller) -> None:
    for number in (1, 2):
        assert output(await shared.run("database", number=number)) == f"{number + 1} on this thread too in load 0"
        assert output(await shared.run("loop", number=number)) == "True in load"


FINE = [
    "task",
    "callback",
    "done callback",
    "finalizer",
    "stop",
    "thread",
    "cancel all",
    "wait for all",
    "shut down",
    "subprocess",
    "fork",
    "fork awaits",
    "fork raises",
    "fork task",
    "fork task exits",
]
FAILS = ["gather", "task group", "interrupt", "thread raises", "cancel itself", "cancel all and itself"]


@pytest.mark.parametrize("how", FINE + FAILS)
@pytest.mark.parametrize(
    "kind", ["loop_program", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("loop_generator", "loop_batch"))]
)
async def test_what_a_job_does_to_the_event_loop_costs_its_neighbours_nothing(
    shared: Caller, shared_worker: Worker, kind: str, how: str
) -> None:
    before = {runner.pid for runner in shared_worker.runners}
    neighbours = [await shared.submit("neighbour", seconds=0.5) for _ in range(5)]
    for each in neighbours:
        await shared.until(each, "running", "succeeded")
    job = await shared.run(kind, **({"name": how} if kind == "loop_batch" else {"how": how}))
    for each in neighbours:
        ended = await shared.end(each)
        assert (output(ended), ended.attempt) == ("fine", 1)
    assert {runner.pid for runner in shared_worker.runners} == before
    assert job.attempt == 1
    if how in FINE:
        assert output(job) == ([1, "fine"] if kind == "loop_generator" else "fine")
    else:
        assert (job.status.value, error_of(job)["code"]) == ("failed", "model-error")
