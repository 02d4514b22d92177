"""Many large uploads at once into one API process: how fast, and what they cost in memory."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psutil

from bench.children import Child
from bench.errors import CheckError
from bench.figures import Figure
from bench.plan import Plan, say
from bench.stage import Stage

SIZE = 5_000_000
LOOK_EVERY = 0.02  # seconds between two looks at the memory
#: Statuses that say that there is no room now: nothing is wrong with the upload, and the caller may come again.
REFUSALS = frozenset({"429", "503"})
NOTE = (
    "One API process, files in a folder, digests by both. Hand-written: FastAPI's `UploadFile`, copied into a folder; nothing is judged"
    " or noted. Memory: highest RSS while they run, less that after one upload. A refusal (429, 503) would count as clean, and not as "
    "accepted."
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One round: megabytes a second of what was accepted, megabytes of memory, uploads that were accepted."""

    speed: float
    memory: float
    accepted: float


def measure(plan: Plan) -> list[Figure]:
    """Speed, memory, and how many were accepted."""
    rounds: dict[str, list[Seen]] = {"Longrun": [], "hand-written": []}
    for number in range(plan.rounds):
        for name in list(rounds)[:: 1 if number % 2 == 0 else -1]:
            seen = _longrun(plan) if name == "Longrun" else _handwritten(plan)
            rounds[name].append(seen)
            say(f"  round {number + 1}: {name} {seen.speed:.4g} MB/s, {seen.memory:.3g} MB, {seen.accepted:g} of {plan.uploads} accepted")
    ours, theirs = rounds["Longrun"], rounds["hand-written"]
    what, peer = f"{plan.uploads} uploads of {SIZE // 1_000_000} MB at once", "FastAPI UploadFile"
    return [
        Figure("uploads", what, "MB/s", peer, [each.speed for each in ours], [each.speed for each in theirs], note=NOTE),
        Figure(
            "uploads",
            f"{what}: growth of the API process",
            "MB",
            peer,
            [each.memory for each in ours],
            [each.memory for each in theirs],
            better="lower",
            note=NOTE,
        ),
        Figure("uploads", f"{what}: accepted", "", peer, [each.accepted for each in ours], [each.accepted for each in theirs], note=NOTE),
    ]


def _longrun(plan: Plan) -> Seen:
    with Stage() as stage:
        port, api = stage.longrun_api_process(stage.valkey())
        return _flood(stage, plan, port, "/api/v1/files", api)


def _handwritten(plan: Plan) -> Seen:
    with Stage() as stage:
        port, api = stage.handwritten_uploads()
        return _flood(stage, plan, port, "/files", api)


def _flood(stage: Stage, plan: Plan, port: int, path: str, api: Child) -> Seen:
    stage.uploads(port, path, count=1, size=SIZE)
    with Peak(api) as peak:
        result = stage.uploads(port, path, count=plan.uploads, size=SIZE)
    strange = {status: count for status, count in result["statuses"].items() if status != "201" and status not in REFUSALS}
    if strange:
        raise CheckError(f"uploads to {path} were answered (status: how often; 0 = not at all) {strange}: {result['refused']}")
    accepted = result["statuses"].get("201", 0)
    return Seen(accepted * SIZE / 1e6 / result["seconds"], peak.growth / 1e6, accepted)


class Peak:
    """The highest memory of a process while a block runs, beyond that before it."""

    def __init__(self, child: Child) -> None:
        self._process = psutil.Process(child.pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.growth = 0

    def __enter__(self) -> Self:
        self._before = self._rss()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_EVERY):
            self.growth = max(self.growth, self._rss() - self._before)

    def _rss(self) -> int:
        return int(self._process.memory_info().rss)
