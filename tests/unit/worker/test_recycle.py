"""When a runner is replaced and when the next one may load beside it; what memory is counted; what the guard ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from longrun.models import Model, isolated_registry
from longrun.worker.supervise import memory
from longrun.worker.supervise.guard import Guard
from longrun.worker.supervise.memory import available_memory, memory_of
from longrun.worker.supervise.terms import Terms, fits_beside, over_memory

GIB = 1 << 30
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_the_strictest_terms_of_the_models_in_a_runner_count() -> None:
    with isolated_registry():

        class A(Model, max_jobs_per_runner=5, load_timeout=10):
            def predict(self) -> int:
                return 1

        class B(Model, max_jobs_per_runner=3, max_memory=GIB, gpus=1, load_timeout=60):
            def predict(self) -> int:
                return 1

        class C(Model):
            def predict(self) -> int:
                return 1

        assert Terms.of([A.__longrun__, B.__longrun__]) == Terms(3, GIB, 60, 1)
        assert Terms.of([C.__longrun__]) == Terms(None, None, 1800, 0)


@pytest.mark.parametrize(
    ("gpus", "device", "held", "available", "beside"),
    [
        (0, "cpu", 2 * GIB, 3 * GIB, True),
        (0, "cpu", 2 * GIB, 3 * GIB - 1, False),
        (0, "cpu", None, 3 * GIB, False),
        (0, "cpu", 2 * GIB, None, False),
        (1, "cpu", GIB, 99 * GIB, False),
        (0, "cuda:0", GIB, 99 * GIB, False),
        (0, "mps", GIB, 99 * GIB, False),
    ],
)
def test_two_runners_live_side_by_side_only_where_memory_is_known_to_allow_it(
    gpus: int, device: str, held: int | None, available: int | None, beside: bool
) -> None:
    assert fits_beside(Terms(gpus=gpus), device, held, available) is beside


def test_a_runner_is_over_its_memory_unless_its_models_alone_are() -> None:
    terms = Terms(max_memory=GIB)
    assert over_memory(terms, GIB + 1, GIB)
    assert not over_memory(terms, GIB, GIB // 2)
    assert not over_memory(terms, 3 * GIB, 2 * GIB)
    assert not over_memory(terms, None, 0)
    assert not over_memory(Terms(), 99 * GIB, 0)


@pytest.fixture
def family() -> Iterator[list[psutil.Process]]:
    """A process that leads a session, and a child of it that holds 100 MiB."""
    code = (
        "import subprocess, sys, time\n"
        "child = 'kept = b\"x\" * (100 << 20); print(flush=True); import time; time.sleep(600)'\n"
        "print(subprocess.Popen([sys.executable, '-c', child]).pid, flush=True)\n"
        "time.sleep(600)"
    )
    leader = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    assert leader.stdout is not None
    child = int(leader.stdout.readline())
    leader.stdout.readline()
    found = [psutil.Process(leader.pid), psutil.Process(child)]
    yield found
    for process in found:
        if process.is_running():
            process.kill()
    leader.wait()
    leader.stdout.close()


@linux
def test_the_memory_of_a_session_is_that_of_all_its_processes(family: list[psutil.Process]) -> None:
    leader, child = family
    held = memory_of({leader.pid, 2**22 + 1})
    assert list(held) == [leader.pid]
    assert child.memory_info().rss > 100 << 20
    assert held[leader.pid] == pytest.approx(leader.memory_info().rss + child.memory_info().rss, rel=0.1)


@linux
def test_available_memory_is_what_the_tightest_group_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups, proc = tmp_path / "cgroup", tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable:   100 kB\n")
    (proc / "self" / "cgroup").write_text("3:cpuset:/\n2:memory:/old\n0::/slice/unit\n")
    monkeypatch.setattr(memory, "_PROC", proc)
    monkeypatch.setattr(memory, "_CGROUPS", groups)
    assert available_memory() == 100 * 1024

    def group(path: str, limit: str, used: int, cache: int, *, old: bool = False) -> None:
        folder = groups / path
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ("memory.limit_in_bytes" if old else "memory.max")).write_text(limit + "\n")
        (folder / ("memory.usage_in_bytes" if old else "memory.current")).write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 5\n{'total_' if old else ''}inactive_file {cache}\n")

    group("slice/unit", "max", 7, 0)
    assert available_memory() == 100 * 1024
    group("slice", "70000", 50000, 10000)
    assert available_memory() == 30000
    group("memory/old", "20000", 15000, 1000, old=True)
    assert available_memory() == 6000
    (proc / "meminfo").unlink()
    assert available_memory() is None


@linux
def test_this_machine_says_how_much_memory_is_available() -> None:
    assert 1 << 20 < (available_memory() or 0) < 1 << 50


def gone(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def wait_for(what: list[psutil.Process]) -> bool:
    end = time.monotonic() + 60
    while not all(map(gone, what)) and time.monotonic() < end:
        time.sleep(0.01)
    return all(map(gone, what))


def test_the_guard_ends_the_groups_that_are_left(family: list[psutil.Process]) -> None:
    guard = Guard()
    guard.add(family[0].pid)
    guard.ensure_running()
    guard.close()
    assert wait_for(family)
    assert guard.pid == 0


def test_the_guard_leaves_alone_what_it_was_told_has_ended(family: list[psutil.Process]) -> None:
    guard = Guard()
    guard.ensure_running()
    guard.add(family[0].pid)
    guard.discard(family[0].pid)
    guard.close()
    assert not any(map(gone, family))


def test_a_guard_that_was_killed_is_started_again_and_told_everything(family: list[psutil.Process]) -> None:
    guard = Guard()
    guard.ensure_running()
    guard.add(family[0].pid)
    os.kill(guard.pid, signal.SIGKILL)
    assert wait_for([psutil.Process(guard.pid)])
    guard.discard(2**22 + 1)  # a word to the dead does no harm
    before = guard.pid
    guard.ensure_running()
    assert guard.pid != before
    guard.close()
    assert wait_for(family)


@linux
def test_the_guard_outlives_a_sigterm_for_all_processes(family: list[psutil.Process]) -> None:
    """As systemd sends it: the worker has its grace, and may yet be killed."""
    guard = Guard()
    guard.ensure_running()
    guard.add(family[0].pid)
    end = time.monotonic() + 60
    while not ignores(guard.pid, signal.SIGTERM):
        assert time.monotonic() < end
        time.sleep(0.01)
    os.kill(guard.pid, signal.SIGTERM)
    guard.close()
    assert wait_for(family)


def ignores(pid: int, number: signal.Signals) -> bool:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigIgn"))
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)
