"""Whatever is killed: of what belonged to it nothing is left two seconds later."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from tests.chaos.caller import Caller
from tests.chaos.cluster import Cluster
from tests.chaos.program import Program, lives, until

pytestmark = [pytest.mark.chaos, pytest.mark.cluster(app=Path(__file__).with_name("models_with_children.py"))]
#: Seconds; two on an idle machine.
PATIENCE = 20.0


def all_gone(processes: list[psutil.Process], what: str) -> None:
    begin = time.monotonic()
    while left := [process for process in processes if lives(process)]:
        assert time.monotonic() - begin < PATIENCE, f"{what}: left are {left}"
        time.sleep(0.01)
    print(f"{what}: {len(processes)} processes gone after {time.monotonic() - begin:.2f} s")


def named(program: Program, word: str) -> psutil.Process:
    return next(process for process in program.offspring() if any(word in part for part in words(process)))


def words(process: psutil.Process) -> list[str]:
    """Its command line; none when it has ended."""
    try:
        return list(process.cmdline())
    except psutil.NoSuchProcess:
        return []


def runner_of(program: Program) -> psutil.Process:
    return named(program, "longrun.worker.runner")


def family(program: Program) -> list[psutil.Process]:
    """The program with everything below it: runner, program, fork, guard at least."""
    found = [psutil.Process(program.pid), *program.offspring()]
    assert len(found) >= 5, found
    return found


def replaced(worker: Program, old: psutil.Process, word: str) -> None:
    """Wait until the worker has another process with this word in its command than the old one."""

    def there() -> bool:
        return any(word in part and process.pid != old.pid for process in worker.offspring() for part in words(process))

    until(there, f"there is a new {word}", timeout=PATIENCE)


def test_nothing_is_left_of_a_killed_worker(cluster: Cluster, caller: Caller) -> None:
    worker = cluster.start_worker()
    cluster.workers_ready()
    caller.wait_for([caller.submit("parent", "a", 60)], {"running"})
    everything = family(worker)
    worker.kill()
    all_gone(everything, "worker, runner and what the model has started")


def test_nothing_is_left_of_a_killed_runner(cluster: Cluster) -> None:
    worker = cluster.start_worker()
    cluster.workers_ready()
    runner = runner_of(worker)
    everything = [runner, *runner.children(recursive=True)]
    assert len(everything) == 3
    runner.kill()
    all_gone(everything, "runner and what the model has started")
    replaced(worker, runner, "longrun.worker.runner")


def test_nothing_is_left_of_a_frozen_worker_that_is_killed(cluster: Cluster) -> None:
    worker = cluster.start_worker()
    cluster.workers_ready()
    everything = family(worker)
    worker.freeze(tree=True)
    guard = named(worker, "guard.py")
    guard.resume()  # it must be able to act; one that is frozen does so when it is thawed
    worker.kill()
    all_gone(everything, "a frozen worker, its runner and what the model has started")


def test_a_killed_guard_is_replaced_and_does_its_work(cluster: Cluster) -> None:
    worker = cluster.start_worker()
    cluster.workers_ready()
    guard = named(worker, "guard.py")
    guard.kill()
    replaced(worker, guard, "guard.py")
    everything = family(worker)
    worker.kill()
    all_gone(everything, "worker, runner and what the model has started")


def test_nothing_is_left_of_a_stopped_worker(cluster: Cluster) -> None:
    worker = cluster.start_worker()
    cluster.workers_ready()
    everything = family(worker)
    os.kill(worker.pid, signal.SIGTERM)
    all_gone(everything, "a stopped worker, its runner and what the model has started")


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "with a job"])
@pytest.mark.cluster(serve=True, app=Path(__file__).with_name("models_with_children.py"), settings={"LONGRUN_GRACE": "60"})
def test_nothing_is_left_of_a_killed_serve(cluster: Cluster, caller: Caller, busy: bool) -> None:
    """A job gets no grace: its store has gone with `serve`. It runs again after the next start."""
    (serve,) = cluster.programs
    cluster.workers_ready()
    if busy:
        caller.wait_for([caller.submit("parent", "a", 60)], {"running"})
    everything = family(serve)
    assert len(everything) >= 8  # Valkey, API and worker too
    serve.kill()
    all_gone(everything, "serve, Valkey, API, worker, runner and what the model has started")


@pytest.mark.parametrize("part", ["api", "worker"])
@pytest.mark.cluster(serve=True, app=Path(__file__).with_name("models_with_children.py"))
def test_nothing_is_left_of_a_killed_part_of_serve(cluster: Cluster, part: str) -> None:
    (serve,) = cluster.programs
    cluster.workers_ready()
    killed = next(process for process in serve.offspring() if part in words(process))
    everything = [killed, *killed.children(recursive=True)]
    killed.kill()
    all_gone(everything, f"the {part} and what it had started")
    until(lambda: any(part in words(p) for p in psutil.Process(serve.pid).children()), f"there is a new {part}", timeout=PATIENCE)
