"""A child of `serve` dies: its jobs run again without waiting for a lease, and what keeps dying is told."""

from __future__ import annotations

import textwrap
import time
from pathlib import Path

import httpx

from .conftest import Serve, wait_for

SLOW = """
    import time
    from longrun import Job, model

    @model
    def slow(seconds: float, job: Job) -> int:
        time.sleep(seconds if job.attempt == 1 else 0)
        return job.attempt
"""
DYING = """
    import os, sys
    from longrun import model

    @model
    def never() -> int:
        return 1

    if "worker" in sys.argv:
        os._exit(7)
"""


def write(folder: Path, code: str) -> str:
    path = folder / "app.py"
    path.write_text(textwrap.dedent(code))
    return str(path)


def test_the_jobs_of_a_killed_worker_run_again_long_before_their_lease_is_over(serve: Serve, tmp_path: Path) -> None:
    service = serve(write(tmp_path, SLOW), LONGRUN_LEASE="600", LONGRUN_HEARTBEAT="3")
    with httpx.Client(base_url=service.url + "/api/v1") as http:
        job = http.post("/models/slow/jobs", json={"input": {"seconds": 1000}}).json()
        wait_for(lambda: http.get(f"/jobs/{job['id']}").json()["status"] == "running")
        service.role("worker").kill()
        killed = time.monotonic()
        wait_for(lambda: http.get(f"/jobs/{job['id']}").json()["terminal"])
        took = time.monotonic() - killed
        done = http.get(f"/jobs/{job['id']}").json()
        attempts = http.get(f"/jobs/{job['id']}/attempts").json()["attempts"]
    print(f"ran again and ended {took:.2f} s after the kill")
    assert (done["status"], done["output"]) == ("succeeded", 2)
    assert [attempt["outcome"] for attempt in attempts] == ["crashed", "succeeded"]
    assert attempts[0]["error"]["code"] == "worker-lost"
    wait_for(lambda: "1 jobs of the dead worker are taken care of" in service.output)


def test_a_worker_that_dies_again_and_again_is_told_on_readyz_and_in_the_log(serve: Serve, tmp_path: Path) -> None:
    service = serve(write(tmp_path, DYING), "--port", "0")
    wait_for(lambda: service.output.count("worker ended with status 7") >= 3)
    listening = [c.laddr.port for c in service.role("api").net_connections() if c.status == "LISTEN"]

    def told() -> dict[str, str]:
        checks: dict[str, str] = httpx.get(f"http://127.0.0.1:{listening[0]}/readyz").json()["checks"]
        return checks

    wait_for(lambda: any(part.startswith("worker-") for part in told()))
    (text,) = [text for part, text in told().items() if part.startswith("worker-")]
    assert text.startswith("ended with status 7, ")
    assert "times in a row; next start in " in text
