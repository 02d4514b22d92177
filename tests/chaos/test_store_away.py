"""Rows F4, F5, F8 to F11 of the fault matrix: Valkey, or the way to it, is gone, frozen, slow or empty."""

from __future__ import annotations

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import httpx
import pytest
from tests.chaos.caller import Caller
from tests.chaos.check import judge
from tests.chaos.cluster import PREFIX, Cluster
from tests.chaos.program import until

pytestmark = pytest.mark.chaos

MODELS = ["grind", "nap", "spell", "weigh"]
ANSWER_WITHIN = 3.0  # seconds; the API gives the store up after 1 s in these tests
LONG_LEASE = {"LONGRUN_LEASE": "5", "LONGRUN_HEARTBEAT": "0.5"}


def attempts_of(caller: Caller) -> set[int]:
    return {outcome.job["attempt"] for outcome in caller.history.outcomes.values()}


def submit_and_time(caller: Caller, number: int) -> tuple[httpx.Response, float]:
    begin = time.monotonic()
    answer = caller.submit_once("nap", f"job {number}", 0.0, key=f"key-{number}")
    return answer, time.monotonic() - begin


@pytest.mark.cluster(proxied=("api",), settings={"LONGRUN_STORE_TIMEOUT": "1"})
@pytest.mark.parametrize("how", [pytest.param("frozen", marks=pytest.mark.gate), "refused", "half-open"])
def test_f8_every_submit_is_answered_while_the_store_is_unreachable_and_no_202_lacks_a_record(
    cluster: Cluster, caller: Caller, how: Literal["frozen", "refused", "half-open"]
) -> None:
    proxy = cluster.proxies["api"]
    caller.submit("nap", "before", 0.0)
    {"frozen": proxy.freeze, "refused": proxy.refuse, "half-open": proxy.half_open}[how]()
    with httpx.Client(base_url=cluster.url, timeout=2) as http, ThreadPoolExecutor(20) as pool:
        tries = [pool.submit(submit_and_time, caller, number) for number in range(20)]
        lively = [http.get("/livez").status_code for _ in range(10)]  # a loop that waits for the store answers nobody
        answers = [each.result() for each in tries]
    assert lively == [200] * 10
    assert max(seconds for _, seconds in answers) < ANSWER_WITHIN
    for answer, _ in answers:
        # Over a new connection, as after a half-open one, a submit may well succeed.
        assert answer.status_code in ((202, 503) if how == "half-open" else (503,)), answer.text
        if answer.status_code == 503:
            assert int(answer.headers["Retry-After"]) >= 1
            assert answer.json()["code"] == "submit-unconfirmed"
            assert answer.json()["job_id"]
        else:
            assert cluster.redis.exists(f"{PREFIX}job:{answer.json()['id']}")
    {"frozen": proxy.thaw, "refused": proxy.admit, "half-open": lambda: None}[how]()
    for number in range(20):
        caller.submit("nap", f"job {number}", 0.0, key=f"key-{number}", within=10)
    cluster.start_worker()
    caller.wait_for_all()
    judge(caller.collect())
    assert len(caller.jobs()) == 21


@pytest.mark.cluster(proxied=("api",))
@pytest.mark.parametrize("harm", ["the reply is lost", "the reply is cut"])
def test_f8_a_submit_whose_reply_from_the_store_was_lost_makes_one_job_and_is_answered_202(
    cluster: Cluster, caller: Caller, harm: str
) -> None:
    proxy = cluster.proxies["api"]
    for number in range(5):
        if harm == "the reply is lost":
            swallowed = proxy.swallow_reply(cluster.sha("submit"))
        else:
            proxy.cut_after(7)
        answer = caller.submit_once("nap", f"job {number}", 0.0)
        assert answer.status_code == 202, answer.text
        assert harm != "the reply is lost" or swallowed.done.is_set()
    cluster.start_worker()
    caller.wait_for_all()
    judge(caller.collect())
    assert len(caller.jobs()) == 5
    assert len(cluster.runs()) == 5


@pytest.mark.cluster(proxied=("worker",), settings=LONG_LEASE)
@pytest.mark.parametrize("model", ["grind", pytest.param("nap", marks=pytest.mark.gate), "spell", "weigh"])
def test_f9_a_job_that_ends_while_the_store_is_away_for_less_than_the_lease_is_stored_later_and_not_run_again(
    cluster: Cluster, caller: Caller, model: str
) -> None:
    proxy = cluster.proxies["worker"]
    worker = cluster.start_worker()
    job_id = caller.submit(model, "finished meanwhile", 1.0, follow=True)
    until(lambda: bool(cluster.runs()), "the job runs", timeout=30)
    proxy.freeze()
    until(lambda: f"end {job_id}" in (cluster.folder / "runs.log").read_text(), "it has ended in its runner", timeout=3)
    time.sleep(0.5)
    assert caller.status(job_id) == "running"
    proxy.thaw()
    caller.wait_for_all(within=20)
    judge(caller.collect())
    assert attempts_of(caller) == {1}
    assert worker.alive


@pytest.mark.cluster(proxied=("worker",))
@pytest.mark.parametrize("how", ["frozen", "refused"])
def test_f9_a_job_that_ends_while_the_store_is_away_for_longer_than_the_lease_is_completed_once(
    cluster: Cluster, caller: Caller, how: str
) -> None:
    proxy = cluster.proxies["worker"]
    worker = cluster.start_worker()
    ids = [caller.submit(model, f"{model} meanwhile", 1.5) for model in MODELS]
    until(lambda: {run.job_id for run in cluster.runs()} == set(ids), "all run", timeout=40)
    proxy.freeze() if how == "frozen" else proxy.refuse()
    caller.wait_for(ids, {"queued"}, within=20)  # by the API's sweep: the lease is over
    time.sleep(1.0)
    assert {caller.status(job_id) for job_id in ids} == {"queued"}
    proxy.thaw() if how == "frozen" else proxy.admit()
    caller.wait_for_all(within=60)
    judge(caller.collect())
    assert attempts_of(caller) == {2}
    assert worker.alive


@pytest.mark.cluster(proxied=("api", "worker"))
def test_f10_a_slow_way_to_the_store_with_resets_makes_everything_slower_and_nothing_wrong(cluster: Cluster, caller: Caller) -> None:
    cluster.start_worker()
    cluster.workers_ready()
    cluster.proxies["api"].delay(0.2)
    cluster.proxies["api"].drop_some(0.05, random.Random(10))
    # Celery's consumer asks some fifty times, one after the other, before it takes tickets again after a reset.
    cluster.proxies["worker"].delay(0.03)
    cluster.proxies["worker"].drop_some(0.005, random.Random(11))
    for number in range(12):
        caller.submit(MODELS[number % 4], f"job {number}", 0.1, follow=number < 4)
    caller.wait_for_all()
    for proxy in cluster.proxies.values():
        proxy.delay(0.0)
        proxy.drop_some(0.0, random.Random())
    judge(caller.collect())


@pytest.mark.gate
def test_f11_a_store_that_stalls_for_longer_than_the_lease_costs_no_attempt_and_no_process(cluster: Cluster, caller: Caller) -> None:
    worker = cluster.start_worker()
    cluster.workers_ready()
    held = [caller.submit("nap", f"held {number}", 4.0) for number in range(5)]
    caller.wait_for(held, {"running"})
    processes = {process.pid for process in worker.offspring()}
    cluster.signal_valkey(signal.SIGSTOP)
    stalled = time.monotonic()
    answer, seconds = submit_and_time(caller, 1)
    assert (answer.status_code, seconds < 4.0) == (503, True)
    time.sleep(max(0.0, 5.0 - (time.monotonic() - stalled)))
    cluster.signal_valkey(signal.SIGCONT)
    caller.submit("nap", "job 1", 0.0, key="key-1")
    caller.wait_for_all(within=30)
    judge(caller.collect())
    assert attempts_of(caller) == {1}
    assert worker.alive
    assert {process.pid for process in worker.offspring()} == processes


def test_f4_a_killed_store_is_answered_503_and_goes_on_with_every_job_after_its_restart(cluster: Cluster, caller: Caller) -> None:
    worker = cluster.start_worker()
    cluster.workers_ready()
    held = [caller.submit(model, f"held {model}", 2.0, follow=True) for model in MODELS]
    waiting = [caller.submit("grind", f"waiting {number}", 0.05) for number in range(10)]
    caller.wait_for([held[1]], {"running"})
    cluster.kill_valkey()
    answer = httpx.get(f"{cluster.url}/api/v1/jobs/{held[0]}", timeout=10)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert caller.submit_once("nap", "refused", 0.0).status_code == 503
    cluster.restart_valkey()
    late = caller.submit("nap", "after the restart", 0.0, within=10)
    caller.wait_for([late], {"succeeded"}, within=10)
    caller.wait_for_all(within=30)
    judge(caller.collect())
    assert {*held, *waiting, late} == set(caller.history.outcomes)
    assert attempts_of(caller) == {1}, "the store was away for less than a lease"
    assert worker.alive


@pytest.mark.cluster(settings=LONG_LEASE)
def test_f5_after_the_store_lost_everything_old_jobs_are_not_found_and_new_ones_run(cluster: Cluster, caller: Caller) -> None:
    worker = cluster.start_worker()
    cluster.workers_ready()
    with Caller(cluster) as before:
        ids = [before.submit(model, f"lost {model}", 1.5) for model in MODELS] + [before.submit("grind", "waits", 0.1) for _ in range(5)]
        until(lambda: len(cluster.runs()) >= 4, "some jobs run", timeout=30)
        cluster.redis.flushall()
    for job_id in ids:
        for path in ("", "/result", "/output", "/events", "/attempts"):
            answer = httpx.get(f"{cluster.url}/api/v1/jobs/{job_id}{path}", timeout=10)
            assert answer.status_code in (404, 410), f"{path}: {answer.status_code} {answer.text}"
        assert httpx.post(f"{cluster.url}/api/v1/jobs/{job_id}/cancel", timeout=10).status_code in (404, 410)
    for number in range(8):
        caller.submit(MODELS[number % 4], f"new {number}", 0.1, follow=True)
    caller.wait_for_all(within=30)
    judge(caller.collect())
    assert worker.alive
    assert httpx.get(f"{cluster.url}/readyz", timeout=10).status_code == 200


def test_f5_a_store_that_forgot_its_scripts_is_told_them_again(cluster: Cluster, caller: Caller) -> None:
    cluster.start_worker()
    cluster.workers_ready()
    for number in range(6):
        cluster.redis.script_flush()
        caller.submit(MODELS[number % 4], f"job {number}", 0.2)
    caller.wait_for_all(within=30)
    judge(caller.collect())
    assert attempts_of(caller) == {1}
