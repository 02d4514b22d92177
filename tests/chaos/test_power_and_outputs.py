"""Rows F6, F29 and F30: the power fails, and models return what is hard to write down."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from tests.chaos.caller import Caller
from tests.chaos.check import judge
from tests.chaos.cluster import Cluster
from tests.chaos.program import until

pytestmark = pytest.mark.chaos

_CALL = re.compile(r"^(?P<thread>\d+) +(?:(?P<name>write|fdatasync|fsync)\((?P<file>\d+<[^>]*>)|<\.\.\. (?P<resumed>\w+) resumed>)")


def synced(trace: str, file_name: str) -> int:
    """Bytes written to a file before the start of the last sync of it that came back: what a power cut leaves. (Reads strace -f -y.)"""
    written = kept = 0
    asked: dict[str, int] = {}  # by thread, what had been written when it asked for the sync that it waits for
    for line in trace.splitlines():
        found = _CALL.match(line)
        if found is None or (found["file"] and file_name not in found["file"]):
            continue
        result = line.rpartition("= ")[2].split()[0] if "= " in line else ""
        if found["name"] == "write":
            written += int(result)
        elif found["name"]:
            asked[found["thread"]] = written
        if (found["name"] or found["resumed"]) != "write" and found["thread"] in asked and result == "0":
            kept = max(kept, asked.pop(found["thread"]))
    return kept


def test_what_a_power_cut_leaves_is_what_was_written_before_a_finished_sync() -> None:
    trace = """\
1 write(9</d/a.aof>, "x"..., 10) = 10
1 fdatasync(9</d/a.aof>) = 0
1 write(9</d/a.aof>, "x"..., 5) = 5
2 fdatasync(9</d/a.aof> <unfinished ...>
1 write(8</d/log>, "x"..., 100) = 100
1 write(9</d/a.aof>, "x"..., 7) = 7
2 <... fdatasync resumed>) = 0
1 fdatasync(9</d/a.aof> <unfinished ...>
"""
    assert synced(trace, "a.aof") == 15


@pytest.mark.skipif(shutil.which("strace") is None, reason="without strace nobody knows what was synced")
@pytest.mark.cluster(durability="strict")
def test_f6_with_strict_durability_every_accepted_job_survives_a_power_cut(cluster: Cluster, caller: Caller, tmp_path: Path) -> None:
    """A power cut keeps of a file what was synced: the append-only file is cut back to that, and the server starts on it.

    It does not show that the disk keeps what it said it had synced.
    """
    (log,) = (tmp_path / "valkey" / "appendonlydir").glob("*.incr.aof")
    size, trace = log.stat().st_size, tmp_path / "trace"
    command = ["strace", "-f", "-y", "-s", "1", "-e", "trace=write,fdatasync,fsync", "-o", str(trace), "-p", str(cluster.valkey_pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        if "attached" not in (said := tracer.stderr.readline()):
            pytest.skip(f"strace may not look at the server: {said.strip()}")
        ids = [caller.submit("nap", f"job {number}", 0.0) for number in range(100)]
        cluster.kill_valkey()
    kept = size + synced(trace.read_text(), log.name)
    assert size < kept <= log.stat().st_size
    with log.open("r+b") as file:
        file.truncate(kept)
    cluster.restart_valkey()
    cluster.start_worker()
    caller.wait_for_all(within=60)
    judge(caller.collect())
    assert set(ids) == set(caller.history.outcomes)


@pytest.mark.cluster(durability="strict")
def test_f6_with_strict_durability_an_answer_comes_after_the_job_is_in_the_file(cluster: Cluster, caller: Caller, tmp_path: Path) -> None:
    """Needs no strace, and shows less: that each job had left the server's memory, not that it had reached the disk."""
    ids = [caller.submit("nap", f"job {number}", 0.0) for number in range(20)]
    cluster.kill_valkey()
    stored = b"".join(file.read_bytes() for file in (tmp_path / "valkey" / "appendonlydir").glob("*.aof"))
    assert all(job_id.encode() in stored for job_id in ids)


@pytest.mark.cluster(settings={"LONGRUN_MAX_OUTPUT": "500000"})
def test_f29_and_f30_no_output_of_a_model_makes_a_get_answer_500(cluster: Cluster, caller: Caller) -> None:
    worker = cluster.start_worker()
    odd = ["nan", "surrogate", "bytes", "huge number", "huge text", "object", "deep", "loop"]
    ids = {text: caller.submit("odd", text, 0.0) for text in odd}
    caller.wait_for_all(within=60)
    with httpx.Client(base_url=f"{cluster.url}/api/v1", timeout=30) as http:
        for text, job_id in ids.items():
            for path in ("", "/result", "/output", "/attempts", "/events"):
                answer = http.get(f"/jobs/{job_id}{path}", headers={"Accept": "application/json"})
                assert answer.status_code < 500, f"{text}, {path}: {answer.status_code} {answer.text[:300]}"
        assert http.get("/jobs?limit=100").status_code == 200
    history = caller.collect()
    judge(history, expected=("succeeded", "failed"))
    code = {text: (history.outcomes[job_id].job["error"] or {}).get("code") for text, job_id in ids.items()}
    assert code["huge text"] == "result-too-large"
    assert {code[text] for text in ("object", "loop", "deep")} == {"invalid-output"}
    assert history.outcomes[ids["nan"]].job["output"] == [None, None, None]
    after = caller.submit("nap", "after all that", 0.0)
    caller.wait_for([after], {"succeeded"})
    until(lambda: worker.alive, "the worker lives", timeout=1)
