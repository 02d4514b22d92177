"""Rows F24 and F35: workers are told to stop, one after another, again and again. Nothing is lost, and nothing is charged for it."""

from __future__ import annotations

import itertools
import signal
import threading
import time

import psutil
import pytest
from tests.chaos.caller import Caller
from tests.chaos.check import violations
from tests.chaos.cluster import LEASE, PREFIX, Cluster
from tests.chaos.program import Program, until

pytestmark = pytest.mark.chaos

GRACE = 1.0  # seconds, of `cluster.SETTINGS`
KINDS = ["grind", "nap", "spell", "weigh"]  # sync, async, a generator, batched
#: A lease that no test waits for: whatever comes back in time was handed back.
PATIENT = pytest.mark.cluster(settings={"LONGRUN_LEASE": "120", "LONGRUN_HEARTBEAT": "5"})
TAKING_TIME = pytest.mark.cluster(settings={"LONGRUN_GRACE": "60"})


def outcomes(caller: Caller, job_id: str) -> list[str]:
    return [attempt["outcome"] for attempt in caller.get(f"/jobs/{job_id}/attempts")["attempts"]]


def begun(cluster: Cluster, job_id: str) -> None:
    """Wait until a model works on the job: a claimed one may still wait for its batch, and would go back at once."""
    until(lambda: any(run.job_id == job_id for run in cluster.runs()), "the job has begun", timeout=30)


def told_to_stop(worker: Program, *, times: int = 1) -> tuple[int, float]:
    """Its exit status, and the seconds from the (first) signal to its end."""
    told, process = time.monotonic(), psutil.Process(worker.pid)
    for _ in range(times - 1):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
    return worker.stop(timeout=30), time.monotonic() - told


@PATIENT
@pytest.mark.parametrize("model", KINDS)
def test_a_long_job_is_handed_over_when_the_grace_is_over_and_nothing_is_charged(cluster: Cluster, caller: Caller, model: str) -> None:
    workers = {name: cluster.start_worker("--name", name) for name in ("one@here", "two@here")}
    cluster.workers_ready(2)
    job_id = caller.submit(model, "handed over", 6.0)
    begun(cluster, job_id)
    old = workers.pop(caller.get(f"/jobs/{job_id}/attempts")["attempts"][0]["worker"])
    told = time.monotonic()
    status, took = told_to_stop(old)
    until(lambda: {run.attempt for run in cluster.runs() if run.job_id == job_id} == {1, 2}, "the job runs elsewhere", timeout=20)
    over = time.monotonic() - told - GRACE
    print(f"{model}: runs elsewhere {over:.2f} s after SIGTERM and grace; the worker ended after {took:.2f} s")
    assert status == 0
    assert over < 3
    caller.wait_for_all()
    assert violations(caller.collect()) == []
    assert outcomes(caller, job_id) == ["released", "succeeded"]


@PATIENT
@pytest.mark.parametrize("model", KINDS)
def test_a_short_job_ends_within_the_grace_and_runs_once(cluster: Cluster, caller: Caller, model: str) -> None:
    old = cluster.start_worker()
    cluster.workers_ready()
    job_id = caller.submit(model, "short", 0.6)
    begun(cluster, job_id)
    status, _ = told_to_stop(old)
    assert status == 0
    caller.wait_for_all(within=2)
    assert violations(caller.collect()) == []
    assert outcomes(caller, job_id) == ["succeeded"]


@pytest.mark.cluster(settings={"LONGRUN_LEASE": "120", "LONGRUN_HEARTBEAT": "5", "LONGRUN_GRACE": "60"})
@pytest.mark.parametrize("model", KINDS)
def test_a_second_signal_hands_back_at_once(cluster: Cluster, caller: Caller, model: str) -> None:
    old = cluster.start_worker()
    cluster.workers_ready()
    job_id = caller.submit(model, "no time", 8.0)
    begun(cluster, job_id)
    status, took = told_to_stop(old, times=2)
    print(f"{model}: ended {took - 0.3:.2f} s after the second signal")
    assert status == 0
    assert took - 0.3 < 3
    caller.wait_for([job_id], {"queued"}, within=1)
    cluster.start_worker()
    caller.wait_for_all()
    assert violations(caller.collect()) == []
    assert outcomes(caller, job_id) == ["released", "succeeded"]


@TAKING_TIME
@pytest.mark.parametrize("model", KINDS)
def test_sigterm_and_then_sigkill_as_kubernetes_does_costs_a_lease_and_no_job(cluster: Cluster, caller: Caller, model: str) -> None:
    old = cluster.start_worker()
    cluster.workers_ready()
    job_id = caller.submit(model, "killed", 30.0 if model in ("nap", "weigh") else 4.0)
    begun(cluster, job_id)
    psutil.Process(old.pid).send_signal(signal.SIGTERM)
    time.sleep(1)
    old.kill_tree()
    cluster.start_worker()
    caller.wait_for_all(within=LEASE * 3 + 60)
    assert violations(caller.collect()) == []
    assert outcomes(caller, job_id) == ["crashed", "succeeded"]


@PATIENT
def test_a_job_that_must_not_run_twice_ends_as_unknown_but_only_when_the_grace_is_over(cluster: Cluster, caller: Caller) -> None:
    old = cluster.start_worker()
    cluster.workers_ready()
    short, long = caller.submit("pay", "short", 0.5), caller.submit("pay", "long", 10.0)
    caller.wait_for([short, long], {"running"})
    assert told_to_stop(old)[0] == 0
    caller.wait_for_all(within=3)
    history = caller.collect()
    assert violations(history, expected=("succeeded", "failed")) == []
    assert history.outcomes[short].job["status"] == "succeeded"
    assert history.outcomes[long].job["error"]["code"] == "outcome-unknown"


@PATIENT
def test_a_worker_that_is_told_to_stop_in_a_burst_leaves_no_ticket_behind(cluster: Cluster, caller: Caller) -> None:
    """What it has popped, is claiming or keeps waiting goes back before it ends: nothing waits for the 10 s of a lost ticket."""
    for number in range(6):
        worker = cluster.start_worker()
        cluster.workers_ready()
        ids = [caller.submit("grind", f"burst {number}.{each}", 0.01) for each in range(20)]
        ids += [caller.submit("nap", f"burst {number}.{each}", 0.05) for each in range(20)]
        until(lambda ids=ids: any(run.job_id in ids for run in cluster.runs()), "the burst runs", timeout=20, every=0.001)  # type: ignore[misc]
        time.sleep(0.03 * number)
        assert told_to_stop(worker)[0] == 0
        assert cluster.redis.zrange(f"{PREFIX}doubt", 0, -1) == []
        held = [caller.get(f"/jobs/{job_id}")["status"] for job_id in ids]
        assert set(held) <= {"queued", "succeeded"}, held
    cluster.start_worker()
    caller.wait_for_all()
    history = caller.collect()
    assert violations(history) == []
    assert len(history.runs) == len(history.accepted), "short jobs end within the grace: none of them runs twice"


@pytest.mark.cluster(proxied=("worker",), settings={"LONGRUN_LEASE": "120", "LONGRUN_HEARTBEAT": "5"})
@pytest.mark.parametrize("pause", [0.1, 0.2, 0.4, 0.5, 0.7])
def test_tickets_and_claims_that_are_on_their_way_go_back_before_the_worker_ends(cluster: Cluster, caller: Caller, pause: float) -> None:
    """A long way to Valkey: the order to stop comes while tickets are being popped (until 0.3 s) and then claimed (until 0.6 s)."""
    worker = cluster.start_worker()
    cluster.workers_ready()
    cluster.proxies["worker"].delay(0.3)
    time.sleep(1.5)  # a wait of the worker that began before
    ids = [caller.submit("nap", f"on its way {number}", 0.1) for number in range(5)]
    time.sleep(pause)
    assert told_to_stop(worker)[0] == 0
    assert cluster.redis.zrange(f"{PREFIX}doubt", 0, -1) == []
    held = [caller.get(f"/jobs/{job_id}")["status"] for job_id in ids]
    assert set(held) <= {"queued", "succeeded"}, held


@pytest.mark.cluster(proxied=("worker",), settings={"LONGRUN_LEASE": "120", "LONGRUN_HEARTBEAT": "5", "LONGRUN_GRACE": "60"})
def test_what_has_not_started_does_not_wait_for_what_runs(cluster: Cluster, caller: Caller) -> None:
    worker = cluster.start_worker()
    cluster.workers_ready()
    long = caller.submit("nap", "runs to its end", 20.0)
    begun(cluster, long)
    # So long that none of them begins before the signal, however late that comes: tickets are popped after 1.5 s, and claimed after 3.
    cluster.proxies["worker"].delay(1.5)
    time.sleep(3)  # a wait of the worker that began before
    late = [caller.submit("nap", f"too late {number}", 0.1) for number in range(5)]
    time.sleep(0.4)
    stopping = threading.Thread(target=worker.stop, kwargs={"timeout": 60})
    stopping.start()

    def back() -> bool:
        held = [caller.get(f"/jobs/{job_id}")["status"] for job_id in late]
        return held == ["queued"] * 5 and cluster.redis.zcard(f"{PREFIX}doubt") == 0

    time.sleep(5)  # what was on its way has come
    until(back, "they are back", timeout=10)
    assert caller.get(f"/jobs/{long}")["status"] == "running"
    stopping.join()
    assert back()
    assert caller.get(f"/jobs/{long}")["status"] == "succeeded"


def test_a_worker_that_is_told_to_stop_while_it_starts_or_loads_ends_at_once(cluster: Cluster) -> None:
    """Whatever it is doing: importing, connecting, starting runners, loading models."""
    slow = cluster.folder / "slow_to_load.py"
    slow.write_text(
        "import time\nfrom longrun import Model\n\n\nclass Slow(Model):\n"
        "    def load(self) -> None:\n        time.sleep(60)\n\n    def predict(self) -> int:\n        return 1\n"
    )
    for pause in (0.5, 1.0, 1.5, 2.5, 5.0):
        worker = cluster.start_worker(app=slow)
        time.sleep(pause)
        tree = worker.offspring()
        status, took = told_to_stop(worker)
        print(f"told after {pause} s: ended after {took:.2f} s")
        # In its first instants, before it has started anything, our code has no say yet.
        assert status == 0 or (status == -signal.SIGTERM and not tree), worker.tail()
        assert took < 4
        psutil.wait_procs(tree, timeout=2)
        assert worker.offspring() == []


@pytest.mark.cluster(settings={"LONGRUN_LEASE": "30", "LONGRUN_HEARTBEAT": "3", "LONGRUN_GRACE": "5"})
def test_workers_that_come_and_go_every_five_seconds_run_next_to_nothing_twice(cluster: Cluster, caller: Caller) -> None:
    workers = [cluster.start_worker()]
    cluster.workers_ready()
    ended: list[int] = []
    flips, begun = itertools.count(1), time.monotonic()
    flip = begun + 5
    while time.monotonic() < begun + 30:
        for model in KINDS:
            caller.submit(model, f"flapping {next(flips)}", 0.2)
        time.sleep(0.1)
        if time.monotonic() >= flip:
            flip += 5
            if len(workers) == 1:
                workers += [cluster.start_worker(), cluster.start_worker()]
            else:
                stopping = [threading.Thread(target=lambda worker=worker: ended.append(told_to_stop(worker)[0])) for worker in workers[:2]]
                for thread in stopping:
                    thread.start()
                del workers[:2]
    caller.wait_for_all(within=60)
    history = caller.collect()
    assert violations(history) == []
    assert ended and set(ended) == {0}
    again = len(history.runs) - len(history.accepted)
    print(f"{len(history.accepted)} jobs, {again} of them ran again")
    assert again <= len(history.accepted) / 100
