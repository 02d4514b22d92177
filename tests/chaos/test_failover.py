"""Row F6 with a replica: a failover takes what the replica had not received, and everybody is told so."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest
from tests.chaos.caller import Caller
from tests.chaos.cluster import Cluster
from tests.chaos.program import until
from tests.chaos.proxy import Proxy
from tests.integration.store.lost_stores import command
from tests.integration.store.test_server_facts import plain_server

pytestmark = pytest.mark.chaos

LOST = "the store has lost writes"


@pytest.mark.cluster(proxied=("api", "worker"))
def test_f6_what_a_failover_has_taken_is_told_by_every_process_and_to_everybody_who_waits_for_it(
    cluster: Cluster, caller: Caller, tmp_path: Path
) -> None:
    socket_path = Path(cluster.redis_url.removeprefix("unix://"))
    options = ("--appendonly", "yes", "--repl-diskless-sync-delay", "0", "--maxmemory-policy", "noeviction")
    with plain_server(tmp_path / "replica", *options) as url, Proxy(socket_path) as link:
        replica = int(url.rsplit(":", 1)[1].removesuffix("/0"))
        command(replica, "REPLICAOF", "127.0.0.1", str(link.port))
        worker = cluster.start_worker()
        cluster.workers_ready()
        kept = caller.submit("nap", "received", 0.0)
        caller.wait_for_all()
        until(
            lambda: f"${len('succeeded')}\r\nsucceeded" in command(replica, "HGET", f"longrun:job:{kept}", "status"),
            "it is there",
            timeout=30,
        )
        link.freeze()
        lost = httpx.post(f"{cluster.url}/api/v1/models/nap/jobs", json={"input": {"text": "not received", "seconds": 60.0}}).json()
        until(lambda: any(run.job_id == lost["id"] for run in cluster.runs()), "it runs", timeout=30)
        heard: list[str] = []
        reader = threading.Thread(target=read, args=(cluster, lost["id"], heard))
        reader.start()
        until(lambda: len(heard) == 2, "it is followed", timeout=30)
        seen = command(replica, "GET", "longrun:marked")
        until(lambda: str(cluster.redis.get("longrun:marked"), "ascii") not in seen, "a mark that is not received", timeout=30)  # type: ignore[arg-type]
        cluster.kill_valkey()
        command(replica, "REPLICAOF", "NO", "ONE")
        for proxy in cluster.proxies.values():
            proxy.target = replica
            proxy.reset()
        reader.join(60)
        assert '"type":"error"' in heard[-1] and '"code":"job-lost"' in heard[-1]
        for program in (cluster.api, worker):
            until(lambda program=program: LOST in program.log.read_text(), f"{program.name} says so", timeout=30)  # type: ignore[misc]
        until(lambda: "lease lost" in worker.log.read_text(), "the run is stopped", timeout=30)
        ready = httpx.get(f"{cluster.url}/readyz", timeout=10)
        assert ready.status_code == 200 and "a replica took over that had not received it" in ready.json()["checks"]["lost"]
        answer = httpx.get(f"{cluster.url}/api/v1/jobs/{lost['id']}", timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (404, "job-lost")
        assert caller.get(f"/jobs/{kept}")["status"] == "succeeded"
        after = caller.submit("nap", "after it", 0.0)
        caller.wait_for([after], {"succeeded"})
        for program in (cluster.api, worker):
            assert program.log.read_text().count(LOST) == 1, program.name


def read(cluster: Cluster, job_id: str, heard: list[str]) -> None:
    """Read a job's stream to its end."""
    with httpx.stream("GET", f"{cluster.url}/api/v1/jobs/{job_id}/events", timeout=60) as stream:
        heard.extend(line for line in stream.iter_lines() if line.startswith("data:"))
