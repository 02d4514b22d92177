"""Several API processes on one port: all of them answer, and when one dies, hangs or stops, no caller is turned away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import textwrap
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from .conftest import HELLO, LONGRUN, PLAIN, Serve, Service, longrun, wait_for

SLOW = """
    import time
    from longrun import model

    @model
    def slow(seconds: float) -> str:
        time.sleep(seconds)
        return "done"
"""


def apis(process: subprocess.Popen[str]) -> dict[str, psutil.Process]:
    """The API processes below this one, by name."""
    found = {}
    for child in psutil.Process(process.pid).children():
        try:
            words = child.cmdline()
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if "api" in words and "--name" in words:
            found[words[words.index("--name") + 1]] = child
    return found


def held(process: psutil.Process) -> int:
    """Open connections of callers."""
    return sum(each.status == psutil.CONN_ESTABLISHED for each in process.net_connections())


def fresh(url: str) -> httpx.Response:
    """A request on a connection of its own."""
    return httpx.get(f"{url}/livez", timeout=60)


@contextmanager
def connections(url: str, number: int) -> Iterator[None]:
    """So many callers, each with a connection that it keeps."""
    with ExitStack() as stack:
        for _ in range(number):
            assert stack.enter_context(httpx.Client(base_url=url, timeout=60)).get("/livez").status_code == 200
        yield


def test_all_of_them_answer_on_one_port_and_log_lines_say_which(serve: Serve) -> None:
    service = serve(PLAIN, "--api-processes", "3", LONGRUN_LOG_LEVEL="debug")
    with connections(service.url, 60):
        spread = {name: held(process) for name, process in apis(service.process).items()}
    print(f"60 connections: {spread}")

    assert spread.keys() == {"api-1", "api-2", "api-3"}
    # Each of 60 goes to any of three alike: that one gets none at all happens once in a thousand million times.
    assert min(spread.values()) > 0
    lines = [json.loads(line) for line in service.lines if line.startswith("{")]
    assert {line.get("process") for line in lines if line.get("path") == "/livez"} == spread.keys()
    assert service.stop(signal.SIGTERM)[0] == 0
    assert service.left() == []


def test_one_is_killed_under_load_and_nobody_is_refused_and_nothing_is_lost(serve: Serve) -> None:
    service = serve(PLAIN, "--api-processes", "2")
    base, over = f"{service.url}/api/v1", threading.Event()
    accepted: list[str] = []
    refused: list[str] = []
    broken: list[str] = []

    def submit() -> None:
        while not over.is_set():
            key = str(uuid.uuid4())
            for _ in range(10):
                try:
                    answer = httpx.post(
                        f"{base}/models/shout/jobs", json={"input": {"text": "x"}}, headers={"Idempotency-Key": key}, timeout=60
                    )
                    assert answer.status_code == 202, answer.text
                    accepted.append(answer.json()["id"])
                    break
                except httpx.ConnectError as error:
                    refused.append(str(error))
                except httpx.TransportError as error:
                    broken.append(type(error).__name__)  # it was open when the process died: sent again, with its key

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(accepted) > 20)
    victim = apis(service.process)["api-2"]
    victim.kill()
    wait_for(lambda: (found := apis(service.process).get("api-2")) is not None and found.pid != victim.pid)
    again = apis(service.process)["api-2"]
    wait_for(lambda: held(again) > 0)
    over.set()
    for thread in threads:
        thread.join()
    print(f"{len(accepted)} accepted, {len(broken)} connections broke, {len(refused)} were refused")
    assert refused == []
    wait_for(lambda: "api-2 was killed by SIGKILL" in service.output)
    with httpx.Client(base_url=base, timeout=70) as http:
        ended = {http.get(f"/jobs/{job_id}", headers={"Prefer": "wait=60"}).json()["status"] for job_id in accepted}
    assert ended == {"succeeded"}


def test_one_that_hangs_holds_up_no_new_caller(serve: Serve) -> None:
    service = serve(PLAIN, "--api-processes", "2")
    url = service.url
    hung = apis(service.process)["api-1"]
    hung.suspend()
    try:
        # About half of them arrive where nobody accepts.
        assert [fresh(url).status_code for _ in range(20)] == [200] * 20
    finally:
        hung.resume()


def test_a_stop_ends_the_streams_of_all_of_them_in_order(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(textwrap.dedent(SLOW))
    service = serve(str(tmp_path / "app.py"), "--api-processes", "2", LONGRUN_GRACE="1")
    base = f"{service.url}/api/v1"
    job_id = httpx.post(f"{base}/models/slow/jobs", json={"input": {"seconds": 60}}).json()["id"]
    read: list[bytes] = []
    cut: list[str] = []
    reading = threading.Semaphore(0)

    def follow() -> None:
        try:
            with httpx.stream("GET", f"{base}/jobs/{job_id}/events", timeout=30) as stream:
                pieces = stream.iter_bytes()
                seen = next(pieces)
                reading.release()
                read.append(seen + b"".join(pieces))
        except httpx.HTTPError as error:
            cut.append(repr(error))

    threads = [threading.Thread(target=follow) for _ in range(16)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert reading.acquire(timeout=60)
    streams = {name: held(process) for name, process in apis(service.process).items()}
    assert min(streams.values()) > 0, streams
    status, took = service.stop(signal.SIGTERM)
    for thread in threads:
        thread.join()
    print(f"{streams} connections; stopped in {took:.1f} s")
    assert (status, cut) == (0, [])
    assert all(each.endswith(b"\n\n") for each in read), "a stream ends between two events"
    assert service.left() == []


@pytest.fixture
def alone(hello: Service, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`longrun api` with two processes, on the store of another service."""
    command = [*LONGRUN, "api", HELLO, "--port", "0", "--data", str(hello.data), "--api-processes", "2"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            command, env=os.environ | {"LONGRUN_LOG_LEVEL": "debug", "LONGRUN_GRACE": "600"}, stdout=log, stderr=log, text=True
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def address(process: subprocess.Popen[str]) -> str:
    """Where the two of them answer."""
    wait_for(lambda: len(apis(process)) == 2 and all(listening(each) for each in apis(process).values()))
    return f"http://127.0.0.1:{listening(apis(process)['api-1'])[0]}"


def listening(process: psutil.Process) -> list[int]:
    return [each.laddr.port for each in process.net_connections() if each.status == psutil.CONN_LISTEN]


def test_api_without_serve_looks_after_its_own_processes(alone: subprocess.Popen[str], tmp_path: Path) -> None:
    url = address(alone)
    wait_for(lambda: fresh(url).status_code == 200)
    apis(alone)["api-1"].kill()
    assert [fresh(url).status_code for _ in range(20)] == [200] * 20
    wait_for(lambda: "api-1 was killed by SIGKILL" in (tmp_path / "log").read_text())
    wait_for(lambda: len(apis(alone)) == 2)
    alone.send_signal(signal.SIGTERM)
    assert alone.wait(60) == 0
    with pytest.raises(httpx.ConnectError):
        fresh(url)


def test_a_second_signal_does_not_wait_for_open_requests(alone: subprocess.Popen[str], hello: Service, tmp_path: Path) -> None:
    url = address(alone)
    slow: dict[str, object] = {"input": {"text": "x"}, "delay": 60}
    job_id = httpx.post(f"{url}/api/v1/models/shout/jobs", json=slow).json()["id"]
    body = iter([b"{"])

    def never_ends() -> Iterator[bytes]:
        yield from body
        time.sleep(100)
        yield b"}"

    def send() -> None:
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{url}/api/v1/models/shout/jobs", content=never_ends(), headers={"Content-Type": "application/json"}, timeout=200)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    wait_for(lambda: sum(held(each) for each in apis(alone).values()) > 0)
    alone.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert alone.poll() is None, "an open request may take its time"
    alone.send_signal(signal.SIGTERM)
    assert alone.wait(60) == 0
    httpx.post(f"{hello.url}/api/v1/jobs/{job_id}/cancel")


def test_an_address_in_use_is_one_clear_error(hello: Service) -> None:
    port = hello.url.rpartition(":")[2]
    ended = longrun("api", HELLO, "--port", port, "--data", str(hello.data), "--api-processes", "4")
    assert ended.returncode == 2
    assert ended.stderr.count("is in use") == 1


def test_two_services_of_several_processes_never_share_a_port(alone: subprocess.Popen[str], hello: Service) -> None:
    port = address(alone).rpartition(":")[2]
    ended = longrun("api", HELLO, "--port", port, "--data", str(hello.data), "--api-processes", "2")
    assert ended.returncode == 2
    assert "is in use" in ended.stderr


@pytest.mark.parametrize("value", ["257", "many", *(pytest.param(each, marks=pytest.mark.slow) for each in ("0", "-1"))])
def test_a_number_that_cannot_be_is_refused(value: str) -> None:
    ended = longrun("api", HELLO, LONGRUN_API_PROCESSES=value)
    assert ended.returncode == 2
    assert f"LONGRUN_API_PROCESSES='{value}'" in ended.stderr


def test_what_is_wrong_with_the_models_is_said_once(tmp_path: Path, hello: Service) -> None:
    (tmp_path / "app.py").write_text("import nothing_of_that_name\n")
    ended = longrun("api", str(tmp_path / "app.py"), "--port", "0", "--data", str(hello.data), "--api-processes", "3")
    assert ended.returncode == 2
    assert ended.stderr.count("ModuleNotFoundError") <= 2  # the traceback, and the line that ends it
