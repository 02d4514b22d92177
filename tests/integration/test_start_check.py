"""`longrun api`, `worker`, `serve` and `doctor` on real servers that would lose jobs: each refuses, and says what mends it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import httpx
import pytest

from longrun.embedded import EmbeddedValkey, find_server
from longrun.embedded.address import ask, socket_of
from longrun.store.formats import FORMAT, OLDEST
from longrun.version import VERSION
from longrun.worker.supervise.cores import find_cores

pytestmark = pytest.mark.slow

HELLO = str(Path(__file__).parents[2] / "examples" / "hello.py")
LONGRUN = [sys.executable, "-m", "longrun"]
IN_TIME = 120  # seconds: a loaded machine is slow, and a process that does not end is what these tests look for

UNSAFE = [
    ("maxmemory-policy", "allkeys-lru", "maxmemory-policy noeviction"),
    ("appendonly", "no", "appendonly yes"),
]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A server of this test alone, as an operator's own: reached by LONGRUN_REDIS_URL."""
    with EmbeddedValkey(tmp_path / "elsewhere") as server:
        yield server


def config(server: EmbeddedValkey, name: str, value: str) -> None:
    assert ask(socket_of(server.data), "CONFIG", "SET", name, value) == "+OK"


def environment(url: str, **more: str) -> dict[str, str]:
    return os.environ | {"LONGRUN_REDIS_URL": url, "LONGRUN_PORT": "0", "LONGRUN_GRACE": "1"} | more


def run(folder: Path, url: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run([*LONGRUN, *words], cwd=folder, env=environment(url, **more), capture_output=True, text=True, timeout=IN_TIME)


class Running:
    """A command that stays; its log is in a file."""

    def __init__(self, folder: Path, url: str, *words: str, **more: str) -> None:
        self.log = folder / f"{words[0]}.log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen([*LONGRUN, *words], cwd=folder, env=environment(url, **more), stdout=output, stderr=output)

    def said(self) -> str:
        return self.log.read_text()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(IN_TIME)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Stay(Protocol):
    def __call__(self, url: str, *words: str, **more: str) -> Running: ...


@pytest.fixture
def stay(tmp_path: Path) -> Iterator[Stay]:
    """Start commands that stay; all of them are gone after the test."""
    running: list[Running] = []

    def start(url: str, *words: str, **more: str) -> Running:
        running.append(Running(tmp_path, url, *words, **more))
        return running[-1]

    yield start
    for each in running:
        each.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def server_at(port: int, folder: Path, *options: str) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    command = [find_server(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


def readyz(port: int) -> tuple[int, dict[str, object]]:
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=10)
    except httpx.TransportError:
        return 0, {}
    return answer.status_code, answer.json()


def until(what: Callable[[], bool], seconds: float = IN_TIME) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it has not happened in time"
        time.sleep(0.05)


@pytest.mark.parametrize("role", ["api", "worker", "serve"])
@pytest.mark.parametrize("danger", UNSAFE, ids=lambda danger: danger[0])
def test_nothing_starts_on_a_store_that_would_lose_jobs(
    own: EmbeddedValkey, tmp_path: Path, role: str, danger: tuple[str, str, str]
) -> None:
    setting, value, mend = danger
    config(own, setting, value)
    done = run(tmp_path, own.start(), role, HELLO)

    assert done.returncode == 2, done.stderr
    assert f"error: {setting}: " in done.stderr
    assert f"`redis-cli CONFIG SET {mend}`, and `{mend}` in redis.conf" in done.stderr
    assert done.stderr.count("error:") == 1, "it is said once"


def test_every_danger_is_told_at_once(own: EmbeddedValkey, tmp_path: Path) -> None:
    for setting, value, _ in UNSAFE:
        config(own, setting, value)
    done = run(tmp_path, own.start(), "api", HELLO, LONGRUN_DURABILITY="strict")

    assert done.returncode == 2
    assert re.findall(r"^error: ([a-z-]+):", done.stderr, re.MULTILINE) == ["maxmemory-policy", "appendonly", "appendfsync"]


@pytest.mark.parametrize("role", ["api", "worker"])
def test_data_of_another_format_are_refused(own: EmbeddedValkey, tmp_path: Path, role: str) -> None:
    path = socket_of(own.data)
    for name, value in (("format", "99"), ("id", "x"), ("version", "9.9")):
        ask(path, "HSET", "longrun:about", name, value)
    done = run(tmp_path, own.start(), role, HELLO)

    assert done.returncode == 2
    assert (
        f"format 99 (Longrun 9.9), and Longrun {VERSION} works on formats {OLDEST} to {FORMAT}" in done.stderr
        and "LONGRUN_PREFIX" in done.stderr
    )


def test_a_live_worker_of_another_format_is_refused(own: EmbeddedValkey, tmp_path: Path) -> None:
    path = socket_of(own.data)
    ask(path, "SET", "longrun:worker:old", json.dumps({"name": "old", "version": "9.9", "format": 99}))
    ask(path, "ZADD", "longrun:workers", "99999999999999", "old")
    done = run(tmp_path, own.start(), "api", HELLO)

    assert done.returncode == 2 and "error: worker-format: " in done.stderr and "old (Longrun 9.9, format 99)" in done.stderr


def test_a_good_store_is_started_on_and_strict_durability_needs_always(own: EmbeddedValkey, stay: Stay, tmp_path: Path) -> None:
    url = own.start()  # once: it would set its own appendfsync again
    refused = run(tmp_path, url, "worker", HELLO, LONGRUN_DURABILITY="strict")
    assert refused.returncode == 2 and "error: appendfsync: durability is strict, and appendfsync is everysec" in refused.stderr

    config(own, "appendfsync", "always")
    port = free_port()
    api = stay(url, "api", HELLO, LONGRUN_PORT=str(port), LONGRUN_DURABILITY="strict")
    stay(url, "worker", HELLO, LONGRUN_DURABILITY="strict")
    until(lambda: readyz(port)[1].get("workers") == 1)
    assert readyz(port) == (200, {"ready": True, "checks": {"store": "ok", "files": "ok"}, "workers": 1})
    (worker,) = httpx.get(f"http://127.0.0.1:{port}/api/v1/workers").json()["workers"]
    assert (worker["version"], worker["format"], worker["lease"], worker["heartbeat"]) == (VERSION, FORMAT, 10, 3)
    assert "not safe" not in api.said()


def test_an_api_waits_for_its_store_and_becomes_ready_with_it(stay: Stay, tmp_path: Path) -> None:
    store, port = free_port(), free_port()
    api = stay(f"redis://127.0.0.1:{store}/0", "api", HELLO, LONGRUN_PORT=str(port))
    until(lambda: readyz(port)[0] == 503)
    answer = httpx.post(f"http://127.0.0.1:{port}/api/v1/models/shout/jobs", json={"input": {"text": "x"}}, timeout=10)
    assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable")

    with server_at(store, tmp_path / "good", "--appendonly", "yes"):
        until(lambda: readyz(port)[0] == 200)
        answer = httpx.post(f"http://127.0.0.1:{port}/api/v1/models/shout/jobs", json={"input": {"text": "x"}}, timeout=10)
        assert answer.status_code == 202 and api.process.poll() is None


@pytest.mark.parametrize("role", ["api", "worker", "serve"])
def test_what_started_before_its_store_ends_when_that_turns_out_to_be_unsafe(stay: Stay, tmp_path: Path, role: str) -> None:
    store, port = free_port(), free_port()
    running = stay(f"redis://127.0.0.1:{store}/0", role, HELLO, LONGRUN_PORT=str(port), LONGRUN_LOG_LEVEL="info")
    if role == "worker":
        until(lambda: "model ready" in running.said())
    else:
        until(lambda: readyz(port)[0] == 503)

    with server_at(store, tmp_path / "bad"):
        assert running.process.wait(IN_TIME) == 2
    critical = [line for line in running.said().splitlines() if '"level": "critical"' in line]
    assert critical and '"check": "appendonly"' in critical[0] and "CONFIG SET appendonly yes" in critical[0]


def test_an_embedded_server_is_as_durable_as_was_asked_for(tmp_path: Path, stay: Stay) -> None:
    port, data = free_port(), tmp_path / "data"
    more = {"LONGRUN_DATA": str(data), "LONGRUN_DURABILITY": "strict", "LONGRUN_PORT": str(port)}
    serving = stay("", "serve", HELLO, **more)
    until(lambda: readyz(port)[0] == 200 or serving.process.poll() is not None)
    assert "appendfsync:always" in config_lines(data)


def config_lines(data: Path) -> list[str]:
    """The server's settings as `name:value`."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(socket_of(data)))
        connection.sendall(b"CONFIG GET appendfsync\r\n")
        _, _, name, _, value, *_ = connection.recv(4096).decode().split("\r\n")
    return [f"{name}:{value}"]


# -- longrun doctor ----------------------------------------------------------------------------------------------------


def doctor(folder: Path, url: str, *words: str, **more: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Its exit status and its findings by name."""
    done = run(folder, url, "doctor", *words, "--json", **more)
    told = json.loads(done.stdout)
    assert told["version"] == VERSION and told["ok"] is (done.returncode == 0)
    return done.returncode, {each["name"]: each for each in told["findings"]}


def test_the_doctor_passes_a_good_store_and_tells_what_does_not_move(own: EmbeddedValkey, tmp_path: Path) -> None:
    code, found = doctor(tmp_path, own.start(), HELLO)

    assert code == 0
    assert {name for name, each in found.items() if each["severity"] == "refuse"} == set()
    assert found["app"]["found"].endswith("brew, count, shout, square_root, tell")
    assert found["workers"]["severity"] == "warn" and found["workers"]["mend"] == f"start one: `longrun worker {HELLO}`"
    assert found["store"]["severity"] == "ok" and "valkey" in found["store"]["found"]
    assert ask(socket_of(own.data), "EXISTS", "longrun:about") == ":0", "it changes nothing"


def test_the_doctor_tells_every_danger_with_the_line_that_mends_it(own: EmbeddedValkey, tmp_path: Path) -> None:
    for setting, value, _ in UNSAFE:
        config(own, setting, value)
    done = run(tmp_path, own.start(), "doctor")
    rows = {name: rest for name, *rest in (line.split("\t") for line in done.stdout.splitlines())}

    assert done.returncode == 1
    for setting, _, mend in UNSAFE:
        state, _, line = rows[setting]
        assert state == "REFUSED" and f"`redis-cli CONFIG SET {mend}`" in line
    assert rows["server-version"][0] == "ok"


def test_the_doctor_says_how_to_start_a_store(tmp_path: Path) -> None:
    code, found = doctor(tmp_path, "", "--data", str(tmp_path / "none"))
    assert code == 1 and "no embedded Valkey runs in" in found["store"]["found"] and "`longrun serve app.py`" in found["store"]["mend"]
    assert not (tmp_path / "none").exists()

    code, found = doctor(tmp_path, "redis://someone:secret@127.0.0.1:1/0")
    assert code == 1 and found["store"]["found"].startswith("127.0.0.1:1/0: The store did not answer in time")


def test_the_doctor_looks_where_files_are_kept(own: EmbeddedValkey, tmp_path: Path) -> None:
    url = own.start()
    _, found = doctor(tmp_path, url, LONGRUN_DATA=str(tmp_path / "none"))
    assert found["files"]["severity"] == "ok" and found["files"]["found"].endswith("which is made with the first file")

    place = tmp_path / "files"
    place.mkdir()
    _, found = doctor(tmp_path, url, LONGRUN_BLOBS=f"file://{place}")
    assert (found["files"]["severity"], found["files"]["found"]) == ("ok", str(place))

    (tmp_path / "file").write_text("")
    code, found = doctor(tmp_path, url, LONGRUN_BLOBS=f"file://{tmp_path}/file")
    assert code == 0 and found["files"]["severity"] == "warn" and "LONGRUN_BLOBS" in found["files"]["mend"]

    code, found = doctor(tmp_path, url, LONGRUN_BLOBS="s3://bucket", AWS_ENDPOINT_URL="http://minio:9000")
    assert code == 1 and found["files"]["severity"] == "refuse" and "AWS_ALLOW_HTTP" in found["files"]["found"]


def test_the_doctor_looks_at_the_embedded_server_of_a_data_folder(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "data"):
        code, found = doctor(tmp_path, "", "--data", str(tmp_path / "data"))
    assert code == 0 and str(tmp_path / "data") in found["disk"]["found"]


def test_the_doctor_tells_that_the_models_cannot_be_imported(own: EmbeddedValkey, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    code, found = doctor(tmp_path, own.start(), "broken.py")
    assert code == 1 and "ModuleNotFoundError" in found["app"]["found"]


def test_the_doctor_warns_of_a_model_that_asks_for_the_cores_more_than_once(own: EmbeddedValkey, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("from longrun import model\n\n@model(processes=2)\ndef busy() -> None: ...\n")
    cores, url = find_cores().usable, own.start()
    _, found = doctor(tmp_path, url, "app.py", LONGRUN_PROCESSES="1")
    assert (found["threads"]["severity"], found["threads"]["mend"]) == ("ok", "")

    code, found = doctor(tmp_path, url, "app.py", LONGRUN_THREADS=f"{2 * cores}", LONGRUN_PROCESSES="1")
    assert code == 0 and found["threads"]["severity"] == "warn"
    assert f"busy asks for {2 * cores} threads" in found["threads"]["found"] and found["threads"]["mend"] == f"LONGRUN_THREADS={cores}"

    _, found = doctor(tmp_path, url)
    assert "threads" not in found


def test_the_doctor_warns_of_few_open_files(own: EmbeddedValkey, tmp_path: Path) -> None:
    command = f"ulimit -n 512 && exec {sys.executable} -m longrun doctor --json"
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=environment(own.start()), capture_output=True, text=True, timeout=IN_TIME
    )
    found = {each["name"]: each for each in json.loads(done.stdout)["findings"]}
    assert done.returncode == 0 and found["open-files"]["severity"] == "warn" and "ulimit -n" in found["open-files"]["mend"]
