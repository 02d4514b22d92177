"""How long code has run is read from memory that its process has written."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from longrun.worker.code_times import _MOST, CodeTimes, new_memory


def test_what_one_process_writes_another_reads_after_the_end_of_the_first() -> None:
    memory = new_memory()
    ours = CodeTimes(memory)
    code = (
        "import os, signal; from longrun.worker.code_times import CodeTimes; "
        f"it = CodeTimes({memory}); one, two = it.begin('job_1', '1/n', 10.0), it.begin('job_2', '3/n', 11.0); "
        "it.leave(one, 2.5); it.enter(one, 20.0); it.leave(two, 0.25); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], pass_fds=[memory], check=False).returncode == -9
    os.close(memory)
    assert ours.read("job_1", "1/n", 24.0) == (10.0, 6.5)
    assert ours.read("job_2", "3/n", 24.0) == (11.0, 0.25)
    assert ours.read("job_2", "2/n", 24.0) is None, "another attempt"
    assert ours.read("job_2", "3/m", 24.0) is None, "another claim"
    assert ours.read("job_3", "1/n", 24.0) is None


def test_the_entry_of_a_job_that_has_ended_goes_to_the_next_and_what_is_too_much_is_not_noted() -> None:
    it = CodeTimes()
    first = it.begin("job_1", "1/n", 1.0)
    it.leave(first, 0.5)
    it.release(first)
    assert it.read("job_1", "1/n", 2.0) == (1.0, 0.5), "its outcome may not have been sent yet"
    assert it.begin("job_2", "1/n", 2.0) == first
    assert it.read("job_1", "1/n", 3.0) is None
    for number in range(_MOST - 1):
        it.begin(f"other_{number}", "1/n", 3.0)
    spare = it.begin("job_3", "1/n", 4.0)
    it.leave(spare, 1.0)
    it.release(spare)
    assert it.read("job_3", "1/n", 5.0) is None
    assert it.read("job_2", "1/n", 5.0) == (2.0, 3.0)


@pytest.mark.parametrize("death", [5.0, 0.0])
def test_a_clock_that_reads_earlier_than_the_entry_counts_nothing(death: float) -> None:
    it = CodeTimes()
    it.begin("job_1", "1/n", 6.0)
    assert it.read("job_1", "1/n", death) == (6.0, 0.0)
