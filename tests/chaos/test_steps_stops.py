"""P7, P8, P12, P14 of the proofs of steps, and what a retry meets: trees that are stopped, poisoned, retried, or run by a zombie."""

from __future__ import annotations

import os
import random
import threading
import time
from typing import Any

import httpx
import pytest
from tests.chaos.cluster import LEASE, PREFIX, Cluster
from tests.chaos.program import until
from tests.chaos.trees import APP, Flows

pytestmark = [pytest.mark.chaos, pytest.mark.cluster(app=APP)]

OPEN = frozenset({"queued", "running", "waiting", "canceling"})


def post(flows: Flows, path: str, body: Any = None) -> httpx.Response:
    """A POST, repeated until it is answered."""
    return flows.caller._answer("POST", path, json=body)


def stored(cluster: Cluster) -> dict[str, str]:
    """Status of every job in the store."""
    redis = cluster.redis
    names = list(redis.scan_iter(f"{PREFIX}job:*", count=1000))
    pipe = redis.pipeline(transaction=False)
    for name in names:
        pipe.hget(name, "status")
    return {name.decode(): (status or b"").decode() for name, status in zip(names, pipe.execute(), strict=True)}


@pytest.mark.parametrize(("width", "harm"), [pytest.param(5, "kill", marks=pytest.mark.gate), (30, "kill"), (30, "none"), (30, "freeze")])
def test_p7_a_cancel_ends_a_tree_of_three_levels_whoever_is_killed_meanwhile(flows: Flows, width: int, harm: str, seed: int) -> None:
    cluster, dice = flows.cluster, random.Random(seed)
    workers = [cluster.start_worker(CHAOS_PROVIDER=flows.provider.url) for _ in range(2)]
    cluster.workers_ready(2)
    root = flows.start("many", "tree", 0.05, width=width)
    until(lambda: len(flows.provider.calls) > 10, "it pays", timeout=60)
    time.sleep(dice.uniform(0.0, 2.0 if width > 20 else 0.2))
    asked = time.time()
    assert post(flows, f"/jobs/{root}/cancel").is_success
    if harm == "kill":
        workers[0].kill()  # the supervisor alone: its runners find out by themselves
    elif harm == "freeze":
        workers[0].freeze(tree=False)
    until(lambda: not OPEN & set(stored(cluster).values()) - {""}, "the whole tree has ended", timeout=30, every=0.1)
    took = time.time() - asked
    if harm == "freeze":
        workers[0].thaw(tree=False)
    time.sleep(1.0)
    late = [call for call in flows.provider.calls if call.at > asked + 1.0]
    print(f"{len(stored(cluster))} jobs; all ended {took:.2f} s after the cancel; {len(late)} calls began over 1 s after it")
    assert not late
    flows.caller.wait_for_all()
    flows.judge(expected=("canceled",))


@pytest.mark.cluster(app=APP, settings={"LONGRUN_MAX_CRASHES": "3"})
def test_p8_a_parent_that_kills_its_process_after_a_wait_fails_alone(flows: Flows) -> None:
    worker = flows.cluster.start_worker(CHAOS_PROVIDER=flows.provider.url)
    beside = [flows.submit("chain", f"beside {n}", 0.4) for n in range(3)]
    waits = flows.start("asks", "waits")
    culprit = flows.start("poisoned", "poison", 0.3)
    flows.caller.wait_for([culprit], {"failed"}, within=60)
    flows.caller.wait_for(beside, {"succeeded"}, within=60)
    assert flows.caller.status(waits) == "waiting"
    assert post(flows, f"/jobs/{waits}/signals/word", {"is": 1}).is_success
    flows.caller.wait_for_all(within=60)
    assert worker.alive
    flows.judge(expected=("succeeded", "failed"))
    job = flows.caller.history.outcomes[culprit].job
    assert job["error"]["code"] == "worker-lost"
    # It is charged three times; a first crash that it had beside the others, which might have been theirs, is not.
    assert flows.cluster.redis.hget(f"{PREFIX}job:{culprit}", "crashes") == b"3"
    assert len([run for run in flows.cluster.runs() if run.job_id == culprit]) in (3, 4)
    assert len(flows.provider.for_("poison/first")) == 1
    # The neighbour that only waited is charged nothing, and nothing of it is paid again.
    assert flows.cluster.redis.hget(f"{PREFIX}job:{waits}", "crashes") is None
    assert {len(flows.provider.for_(f"waits/{name}")) for name in ("first", "last")} == {1}


@pytest.mark.parametrize("after", [0.0, 1.0, 1.8], ids=lambda after: f"after {after} s")
def test_p12_a_retry_pays_only_what_had_failed_also_when_its_job_goes_while_it_runs(flows: Flows, after: float) -> None:
    sold: list[bool] = []
    flows.provider.says = lambda step: "none left" if step == "order/3" and not sold else f"paid {step}"
    flows.cluster.start_worker(CHAOS_PROVIDER=flows.provider.url)
    flows.cluster.workers_ready()
    given = {"text": "order", "seconds": 0.8}
    first = flows.caller.submit("order", "order", 0.8, input=given, policy={"retain_for": 2.0})
    flows.caller.wait_for([first], {"failed"}, within=60)
    flows.caller.history.accepted.pop(first)
    assert len(flows.provider.calls) == 4
    sold.append(True)
    time.sleep(after)
    job = post(flows, f"/jobs/{first}/retry").json()
    while not job["terminal"]:
        time.sleep(0.05)
        job = flows.caller.get(f"/jobs/{job['id']}")
    assert (job["status"], job["output"]) == ("succeeded", [f"paid order/{n}" for n in range(5)]), job
    assert [call.step for call in flows.provider.calls[4:]] == ["order/3", "order/4"]
    assert len({call.key for call in flows.provider.for_("order/3")}) == 1
    gone = flows.caller._answer("GET", f"/jobs/{first}").status_code
    assert gone == 410 or not after, "the failed job has gone meanwhile"


def test_p14_a_zombie_that_thaws_after_its_successor_has_ended_makes_nothing_and_writes_nothing(flows: Flows) -> None:
    cluster = flows.cluster
    zombie = cluster.start_worker(CHAOS_PROVIDER=flows.provider.url)
    ids = [flows.submit(kind, kind, 0.3) for kind in ("chain", "chain_sync")]
    until(lambda: len(flows.provider.calls) > 3, "steps are paid", timeout=60)
    zombie.freeze(tree=True)
    cluster.start_worker(CHAOS_PROVIDER=flows.provider.url)
    flows.caller.wait_for_all(within=60)
    before = {name: cluster.redis.dump(name) for name in cluster.redis.keys(f"{PREFIX}*job_*")}
    assert any(ids[0].encode() in name for name in before)
    calls = len(flows.provider.calls)
    zombie.thaw(tree=True)
    time.sleep(2 * LEASE)
    assert {name: cluster.redis.dump(name) for name in cluster.redis.keys(f"{PREFIX}*job_*")} == before
    assert zombie.alive
    # What its runner was about to pay when it froze is paid; no step is begun.
    late = flows.provider.calls[calls:]
    assert all(len(flows.provider.for_(call.step)) > 1 for call in late), late
    assert len(stored(cluster)) == 12


@pytest.mark.parametrize("surely", [False, True], ids=["stops", "goes on to its end"])
def test_a_retry_waits_for_what_the_failed_job_still_pays_and_pays_it_no_second_time(flows: Flows, surely: bool) -> None:
    sold: list[bool] = []
    flows.provider.says = lambda step: "none left" if step.endswith("first") and not sold else f"paid {step}"
    flows.cluster.start_worker(CHAOS_PROVIDER=flows.provider.url)
    flows.cluster.workers_ready()
    for n in range(5):
        sold.clear()
        text = f"gives up {n}"
        job_id = flows.start("gives_up", text, 1.2, surely=surely)
        flows.caller.wait_for([job_id], {"failed"}, within=30)
        flows.caller.history.accepted.pop(job_id)
        assert len(flows.provider.for_(f"{text}/second")) == 1
        sold.append(True)
        root = post(flows, f"/jobs/{job_id}/retry").json()["id"]
        until(lambda root=root: flows.caller.get(f"/jobs/{root}")["terminal"], "the retry has ended", timeout=30)  # type: ignore[misc]
        job = flows.caller.get(f"/jobs/{root}")
        assert job["output"] == [f"paid {text}/{name}" for name in ("first", "second")], job
        # It was paid when it ended; and if it did not, the same key says so to the provider.
        old = next(step for step in flows.steps(job_id) if step["id"] == flows.provider.for_(f"{text}/second")[0].job)
        second = flows.provider.for_(f"{text}/second")
        assert len({call.key for call in second}) == 1
        print(f"{old['status']}: paid {len(second)} times")
        assert (len(second), old["status"]) == ((1, "succeeded") if surely else (2, "canceled"))


@pytest.mark.cluster(app=APP, settings={"LONGRUN_MODELS_MAY_SUBMIT": "1"})
@pytest.mark.parametrize("victim", ["worker", "runner"])
def test_jobs_that_submit_and_wait_by_hand_go_on_after_a_kill(flows: Flows, victim: str) -> None:
    cluster = flows.cluster
    worker = cluster.start_worker(CHAOS_PROVIDER=flows.provider.url)
    ids = [flows.start("by_hand", f"by hand {n}", 1.0) for n in range(3)]
    until(lambda: len(flows.provider.calls) >= 3, "they have submitted and wait", timeout=60)
    time.sleep(0.3)
    if victim == "worker":
        worker.kill_tree()
        cluster.start_worker(CHAOS_PROVIDER=flows.provider.url)
    else:
        os.kill(cluster.runs()[-1].pid, 9)
    flows.caller.wait_for_all(within=60)
    flows.caller.collect()
    for n, job_id in enumerate(ids):
        job = flows.caller.history.outcomes[job_id].job
        assert (job["status"], job["output"]) == ("succeeded", [f"paid by hand {n}/{i}" for i in range(2)]), job
        for i in range(2):
            calls = flows.provider.for_(f"by hand {n}/{i}")
            assert len({call.key for call in calls}) == len({call.job for call in calls}) == 1
            assert len(calls) <= 2 - i


def send_all(flows: Flows, job_id: str, values: list[Any]) -> list[int]:
    """What is answered to these values of a signal, sent all at once."""
    answers: list[int] = []

    def send(value: Any) -> None:
        answers.append(httpx.post(f"{flows.cluster.url}/api/v1/jobs/{job_id}/signals/word", json=value, timeout=20).status_code)

    threads = [threading.Thread(target=send, args=(value,)) for value in values]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("harm", ["none", "worker", "runner", "valkey"])
def test_p9_of_a_hundred_answers_at_once_one_counts_across_crashes(flows: Flows, when: str, harm: str) -> None:
    cluster = flows.cluster
    worker = cluster.start_worker(CHAOS_PROVIDER=flows.provider.url) if when == "during" else None
    job_id = flows.start("asks", "asks", 0.1)
    if worker is not None:
        until(lambda: bool(flows.caller.get(f"/jobs/{job_id}")["asks"]), "it asks", timeout=60)
    if harm == "runner" and worker is not None:
        os.kill(cluster.runs()[-1].pid, 9)
    answers = send_all(flows, job_id, [{"is": n} for n in range(100)])
    assert sorted(set(answers)) == [200, 409]
    assert answers.count(200) == 1
    if harm == "valkey":
        cluster.kill_valkey()
        time.sleep(0.2)
        cluster.restart_valkey()
    if harm == "worker" and worker is not None:
        worker.kill_tree()
        worker = None
    if worker is None:
        cluster.start_worker(CHAOS_PROVIDER=flows.provider.url)
    flows.caller.wait_for_all(within=60)
    flows.judge()
    job = flows.caller.history.outcomes[job_id].job
    first, word, again, last = job["output"]
    assert word == again
    assert (first, last) == ("paid asks/first", "paid asks/last")
    assert {len(flows.provider.for_(f"asks/{name}")) for name in ("first", "last")} == {1}
    assert post(flows, f"/jobs/{job_id}/signals/word", word).status_code in (200, 409)
    assert post(flows, f"/jobs/{job_id}/signals/word", {"is": -1}).status_code == 409


@pytest.mark.parametrize("point", ["before", "after"])
def test_p9_an_answer_is_kept_when_the_api_dies_between_the_script_and_its_reply(flows: Flows, point: str) -> None:
    cluster = flows.cluster
    cluster.start_worker(CHAOS_PROVIDER=flows.provider.url)
    job_id = flows.start("asks", "asks", 0.1)
    until(lambda: bool(flows.caller.get(f"/jobs/{job_id}")["asks"]), "it asks", timeout=60)
    doomed, port = cluster.start_second_api(CHAOS_FAILPOINT=f"{point}:signal:1=exit")
    with pytest.raises(httpx.TransportError):
        httpx.post(f"http://127.0.0.1:{port}/api/v1/jobs/{job_id}/signals/word", json={"is": 7}, timeout=20)
    until(lambda: not doomed.alive, "the API is dead", timeout=10)
    doomed.kill()
    if point == "before":
        assert flows.caller.get(f"/jobs/{job_id}")["status"] == "waiting"
    assert post(flows, f"/jobs/{job_id}/signals/word", {"is": 7}).status_code in ((200, 409) if point == "after" else (200,))
    flows.caller.wait_for_all(within=60)
    flows.judge()
    assert flows.caller.history.outcomes[job_id].job["output"][1:3] == [{"is": 7}] * 2
