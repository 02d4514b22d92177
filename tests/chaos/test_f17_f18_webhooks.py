"""F17 and F18: receivers that are down, slow, angry or leave, receivers that point elsewhere, and senders that die in the middle."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest
from tests.chaos.caller import Caller
from tests.chaos.check import judge
from tests.chaos.cluster import Cluster, free_port
from tests.chaos.program import until
from tests.chaos.receiver import SECRET, WEBHOOKS_AT_ONCE, Answer, Receiver, at_first

pytestmark = [pytest.mark.chaos, pytest.mark.cluster(settings=WEBHOOKS_AT_ONCE)]


def submit(caller: Caller, receiver: Receiver, text: str, seconds: float = 0.0, **options: Any) -> str:
    """A job whose end is to be delivered to the receiver."""
    job_id = caller.submit("nap", text, seconds, webhook=receiver.hook(), **options)
    caller.history.hooked.add(job_id)
    return job_id


def delivered(caller: Caller, receiver: Receiver, *, within: float = 40.0) -> None:
    """Wait until the end of every job has been taken; the history then holds what the receiver got."""
    until(lambda: all(receiver.took(job_id) for job_id in caller.history.hooked), "all ends were delivered", timeout=within)
    caller.history.deliveries = list(receiver.deliveries)


TROUBLES = {
    "errors": at_first(Answer(500), Answer(503)),
    "redirects": at_first(Answer(302, {"Location": "/elsewhere"}), Answer(308, {"Location": "http://127.0.0.1:9/"})),
    "slower than the timeout": at_first(Answer(200, pause=2.0)),
    "asks to wait": at_first(Answer(429, {"Retry-After": "2"})),
}


@pytest.mark.gate
@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_receiver_in_trouble_gets_every_end_under_one_id(cluster: Cluster, caller: Caller, receiver: Receiver, trouble: str) -> None:
    cluster.start_worker()
    receiver.behave = TROUBLES[trouble]
    for number in range(10):
        submit(caller, receiver, f"{trouble} {number}")
    caller.wait_for_all()
    # A slow receiver has said 200 to somebody who had hung up: only later tries count for it.
    until(lambda: all(tries(receiver, job_id) > 1 for job_id in caller.history.hooked), "all were tried again", timeout=40)
    delivered(caller, receiver)
    judge(caller.collect())
    if trouble == "asks to wait":
        assert all(gap(receiver, job_id) >= 2.0 for job_id in caller.history.hooked)


def tries(receiver: Receiver, job_id: str) -> int:
    """How often a job's end has come."""
    return sum(each.job_id == job_id for each in receiver.deliveries)


def gap(receiver: Receiver, job_id: str) -> float:
    """Seconds between the first two tries."""
    first, second, *_ = [each.at for each in receiver.deliveries if each.job_id == job_id]
    return second - first


def test_a_receiver_that_is_down_for_a_while_misses_nothing(cluster: Cluster, caller: Caller) -> None:
    cluster.start_worker()
    port = free_port()
    hook = {"url": f"http://127.0.0.1:{port}/hook", "secret": SECRET}
    for number in range(10):
        caller.history.hooked.add(caller.submit("nap", f"down {number}", 0.0, webhook=hook))
    caller.wait_for_all()
    time.sleep(1.5)
    with Receiver(port=port) as receiver:
        delivered(caller, receiver)
    judge(caller.collect())


@pytest.mark.gate
def test_ends_are_delivered_through_kills_of_the_api_and_the_store(cluster: Cluster, caller: Caller, receiver: Receiver) -> None:
    """The sender dies between the request and the note of its answer: the message comes again, with the same id."""
    cluster.start_worker()
    receiver.behave = lambda tries: Answer(200 if tries % 2 else 500, pause=0.1)
    client = threading.Thread(target=lambda: [submit(caller, receiver, f"kill {number}", 0.05) for number in range(40)])
    client.start()
    for _ in range(3):
        time.sleep(0.7)
        cluster.api.kill()
        cluster.start_api()
    cluster.kill_valkey()
    time.sleep(0.3)
    cluster.restart_valkey()
    client.join()
    caller.wait_for_all()
    delivered(caller, receiver, within=120)
    judge(caller.collect())


def test_a_receiver_that_has_left_is_not_asked_again(cluster: Cluster, caller: Caller, receiver: Receiver) -> None:
    cluster.start_worker()
    receiver.behave = lambda _: Answer(410)
    job_id = caller.submit("nap", "gone", 0.0, webhook=receiver.hook())
    caller.wait_for_all()
    until(lambda: tries(receiver, job_id) == 1, "it was tried", timeout=10)
    ledger = caller.get(f"/webhook-deliveries?job={job_id}")["deliveries"]
    until(lambda: caller.get(f"/webhook-deliveries?job={job_id}")["deliveries"][0]["status"] == "failed", "it was given up", timeout=10)
    time.sleep(1.5)
    assert tries(receiver, job_id) == 1
    assert len(ledger) == 1


@pytest.mark.cluster(settings={**WEBHOOKS_AT_ONCE, "LONGRUN_ALLOWED_NETWORKS": ""})
def test_no_byte_reaches_a_private_address(cluster: Cluster, caller: Caller) -> None:
    """F18: literal addresses are refused by the submit; names that lead there when they are resolved."""
    cluster.start_worker()
    with socket.create_server(("127.0.0.1", 0)) as canary:
        port = canary.getsockname()[1]
        for host in ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "localhost"):
            answer = caller.submit_once("nap", host, 0.0, webhook={"url": f"https://{host}:{port}/hook"})
            if answer.status_code != 202:
                assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/webhook/url"), answer.text
        # The name of this machine is none that its form gives away, and leads to a private address.
        job_id = caller.submit("nap", "by name", 0.0, webhook={"url": f"https://{socket.gethostname()}:{port}/hook"})
        caller.wait_for_all()
        tried = until_tried(caller, job_id)
        assert all(each["status_code"] is None and each["error"] for each in tried)
        canary.settimeout(1.0)
        with pytest.raises(TimeoutError):
            canary.accept()


def until_tried(caller: Caller, job_id: str) -> list[dict[str, Any]]:
    """The tries of a job's first delivery, once there are any."""

    def found() -> list[dict[str, Any]]:
        (delivery,) = caller.get(f"/webhook-deliveries?job={job_id}")["deliveries"]
        one: list[dict[str, Any]] = caller.get(f"/webhook-deliveries/{delivery['id']}")["tries"]
        return one

    until(lambda: len(found()) > 0, "it was tried", timeout=20)
    return found()
