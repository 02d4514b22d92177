"""The smallest harm that each guard is there for, over real processes. `test_mutants.py` runs them with and without the guard."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.chaos.caller import Caller
from tests.chaos.check import violations
from tests.chaos.cluster import PREFIX, Cluster
from tests.chaos.program import until

Scenario = Callable[[Cluster, Caller], None]


def a_worker_is_killed(cluster: Cluster, caller: Caller) -> None:
    """A worker dies with three jobs; another one is there. Without the sweep they are held by the dead one for ever."""
    worker = cluster.start_worker()
    ids = [caller.submit("nap", f"held by the dead {number}", 3.0) for number in range(3)]
    caller.wait_for(ids, {"running"})
    cluster.start_worker()
    worker.kill_tree()


def a_zombie_offers_its_result(cluster: Cluster, caller: Caller) -> None:
    """A worker is frozen until its job runs elsewhere, and then offers its own result. Without the fence that is taken."""
    zombie = cluster.start_worker()
    job_id = caller.submit("grind", "wanted twice", 5.0)
    caller.wait_for([job_id], {"running"})
    zombie.freeze(tree=False)
    cluster.start_worker()
    until(lambda: {run.attempt for run in cluster.runs() if run.job_id == job_id} == {1, 2}, "the job runs elsewhere", timeout=40)
    until(lambda: f"end {job_id} 1 " in (cluster.folder / "runs.log").read_text(), "the runner of the frozen worker ends", timeout=20)
    zombie.thaw(tree=False)


def every_ticket_is_there_three_times(cluster: Cluster, caller: Caller) -> None:
    """Messages are repeated, as brokers do. Without compare-and-set each of them runs the job again, also after its end."""
    ids = [caller.submit("grind", f"thrice {number}", 0.2) for number in range(4)]
    (name,) = [key for key in cluster.redis.keys(f"{PREFIX}*.grind*") if b"wait:" not in key and b"wake:" not in key]
    tickets = cluster.redis.lrange(name, 0, -1)
    assert len(tickets) == len(ids)
    cluster.redis.lpush(name, *tickets, *tickets)
    worker = cluster.start_worker()
    until(lambda: not cluster.redis.exists(name), "all tickets are taken", timeout=40)
    caller.wait_for_all()
    worker.stop()


def consumers_die_with_what_they_popped(cluster: Cluster, caller: Caller, *, rounds: int = 4) -> None:
    """Both workers are stopped while they wait for work, five jobs are submitted, both are killed, and new ones come.

    What Valkey hands to a stopped worker has left the queue and reaches nobody.
    """
    workers = [cluster.start_worker(), cluster.start_worker()]
    caller.submit("nap", "first of all", 0.1)  # so that the API is as ready as the workers
    for number in range(rounds):
        cluster.workers_ready(2)
        _until_quiet(caller)
        for worker in workers:
            worker.freeze(tree=False)
        for job in range(5):
            caller.submit("nap", f"round {number}, job {job}", 0.1)
        for worker in workers:
            worker.kill_tree()
        workers = [cluster.start_worker(), cluster.start_worker()]
    cluster.workers_ready(2)
    _until_quiet(caller)


def _until_quiet(caller: Caller) -> None:
    """Wait until nothing has ended for a second, so that workers that are ready have nothing to do."""
    left, since = caller.history.unfinished(), time.monotonic()
    while time.monotonic() - since < 1.0:
        time.sleep(0.05)
        if (now := caller.history.unfinished()) != left:
            left, since = now, time.monotonic()


def judged(caller: Caller, *, within: float) -> list[str]:
    """What the judge says after `within` seconds, or sooner when all jobs have ended."""
    deadline = time.monotonic() + within
    while caller.history.unfinished() and time.monotonic() < deadline:
        time.sleep(0.05)
    return violations(caller.collect())
