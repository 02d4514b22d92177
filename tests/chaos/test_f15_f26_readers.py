"""F15: readers that never read, beside a thousand idle ones. F26: callers that go away, five hundred times."""

from __future__ import annotations

import random
import socket
import statistics
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
import psutil
import pytest
from tests.chaos.caller import Caller
from tests.chaos.check import judge
from tests.chaos.cluster import PREFIX, Cluster
from tests.chaos.program import until

pytestmark = pytest.mark.chaos

#: With this a socket that is closed says RST instead of FIN.
_NO_LINGER = struct.pack("ii", 1, 0)


def connect(port: int, *, buffer: int | None = None) -> socket.socket:
    """A connection; `buffer`: bytes that this end takes from the network unread."""
    sock = socket.socket()
    if buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.settimeout(10)
    sock.connect(("127.0.0.1", port))
    return sock


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    fields = {"Host": "localhost", "Content-Length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} /api/v1{path} HTTP/1.1\r\n{head}\r\n".encode() + body


def subscriptions(cluster: Cluster) -> int:
    """Channels of jobs that somebody listens to."""
    return len(cluster.redis.pubsub_channels(f"{PREFIX}note:*"))


@contextmanager
def readers(port: int, paths: list[str], *, buffer: int | None = None) -> Iterator[list[socket.socket]]:
    """Connections that ask for an event stream, and of which nobody reads more than the beginning."""
    with ExitStack() as stack:
        found = []
        for path in paths:
            found.append(stack.enter_context(connect(port, buffer=buffer)))
            found[-1].sendall(request("GET", path, Accept="text/event-stream"))
            assert found[-1].recv(12) == b"HTTP/1.1 200"
        yield found


def latency(cluster: Cluster, job_id: str) -> float:
    """Median milliseconds of a GET, and every one of them must succeed."""
    took = []
    with httpx.Client(base_url=f"{cluster.url}/api/v1") as http:
        for _ in range(200):
            began = time.perf_counter()
            assert http.get(f"/jobs/{job_id}").status_code == 200
            took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took)


@pytest.mark.gate
def test_f15_readers_that_never_read_cost_little_and_disturb_nobody(cluster: Cluster, caller: Caller) -> None:
    cluster.start_worker()
    cluster.workers_ready()
    api = psutil.Process(cluster.api.pid)
    poured = [caller.submit("pour", "400", 0.0) for _ in range(5)]  # 4 MB each
    idle = caller.submit("nap", "later", 0.0, delay=3600)
    for job_id in poured[:2]:
        caller.wait_for([job_id], {"succeeded"})
    alone, before = latency(cluster, idle), api.memory_info().rss
    paths = [f"/jobs/{job_id}/events" for job_id in poured for _ in range(20)]
    with readers(cluster.port, paths, buffer=4096):
        caller.wait_for(poured, {"succeeded"})
        time.sleep(1)
        stalled, held = latency(cluster, idle), api.memory_info().rss
        with readers(cluster.port, [f"/jobs/{idle}/events"] * 1000):
            beside, most = latency(cluster, idle), api.memory_info().rss
            text = caller.submit("spell", "and others are served", 0.1, follow=True)
            caller.wait_for([text], {"succeeded"})
    print(f"a GET takes {alone:.2f} ms alone, {stalled:.2f} ms beside 100 stalled readers, {beside:.2f} ms with 1,000 idle ones too")
    print(f"memory grew by {(held - before) >> 20} MB for the stalled, {(most - held) >> 20} MB for the idle")
    assert most - before < 50 << 20
    until(lambda: subscriptions(cluster) == 0, "nobody listens any more", timeout=20)


def asks(path: str, number: int) -> list[bytes]:
    """Every kind of request whose answer may be waited for."""
    body = b'{"input": {"text": "left alone", "seconds": 0.3}, "metadata": {"key": "left-%d"}}' % number
    submit = {"Content_Type": "application/json", "Idempotency_Key": f"left-{number}"}
    socket_key = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    return [
        request("GET", path),
        request("GET", path, Prefer="wait=60"),
        request("GET", path, Prefer="wait=60", If_None_Match='"1"'),
        request("GET", f"{path}/events", Accept="text/event-stream"),
        request("GET", f"{path}/events", Accept="text/event-stream", Last_Event_ID="2"),
        request("GET", f"{path}/ws", **socket_key),
        request("POST", "/models/nap/jobs", body, Prefer="wait=60", **submit),
        request("POST", "/models/spell/jobs", body, Accept="text/event-stream", **submit),
    ]


def come_and_go(cluster: Cluster, path: str, number: int, dice: random.Random) -> None:
    """Ask for something and leave abruptly: within the request, before the answer, or in the middle of it."""
    asked = dice.choice(asks(path, number))
    with connect(cluster.port) as sock:
        sock.sendall(asked[: dice.choice([len(asked), len(asked), len(asked), dice.randint(1, len(asked))])])
        way = dice.choice(["at once", "in a moment", "after some bytes", "half"])
        if way == "in a moment":
            time.sleep(dice.uniform(0, 0.02))
        elif way == "after some bytes":
            sock.settimeout(0.05)
            with suppress(TimeoutError):
                sock.recv(dice.randint(1, 500))
        elif way == "half":
            sock.shutdown(socket.SHUT_WR)
        if dice.random() < 0.5:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)


@pytest.mark.gate
def test_f26_callers_that_go_away_leave_nothing_behind_and_their_jobs_go_on(cluster: Cluster, caller: Caller, seed: int) -> None:
    cluster.start_worker()
    cluster.workers_ready()
    api, dice = psutil.Process(cluster.api.pid), random.Random(seed)
    watched = [caller.submit("spell", "x" * 200, 8.0, follow=True) for _ in range(3)]
    caller.wait_for(watched, {"running"})
    for number in range(50):  # what is opened once and kept
        come_and_go(cluster, f"/jobs/{watched[0]}", number, dice)
    time.sleep(1)
    files, threads, memory = api.num_fds(), api.num_threads(), api.memory_info().rss
    for number in range(50, 550):
        come_and_go(cluster, f"/jobs/{dice.choice(watched)}", number, dice)
    caller.wait_for_all()
    until(lambda: all(job["terminal"] for job in caller.jobs()), "the jobs of those who left have ended", timeout=30, every=0.5)
    jobs = caller.jobs()
    assert len(jobs) > 50 and {job["status"] for job in jobs} == {"succeeded"}
    judge(caller.collect(), seed=seed)
    until(lambda: subscriptions(cluster) == 0, "nobody listens any more", timeout=20)
    until(lambda: api.num_fds() <= files, f"no more than {files} files are open, but {api.num_fds()}", timeout=20)
    assert api.num_threads() <= threads + 1
    assert '"level": "error"' not in cluster.api.log.read_text(), "that a caller leaves is no fault of ours"
    print(f"{len(jobs)} jobs; memory grew by {(api.memory_info().rss - memory) >> 10} KB, files {files} to {api.num_fds()}")
