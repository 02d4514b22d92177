"""What is done to a cluster in a release run. From one thread that lives to the end: programs die with the thread that started them."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from tests.chaos.cluster import Cluster
from tests.chaos.program import Program
from tests.chaos.release_load import Notes

#: What is drawn at random, and how often in a dozen draws.
FAULTS = {"worker and its runners killed": 4, "worker killed alone": 3, "runner killed": 4, "worker frozen beyond its lease": 1}
VALKEY_DOWN = 0.5  # seconds


@dataclass(slots=True)
class Killed:
    """When which processes were killed, and whether a worker was among them."""

    at: float
    pids: set[int]
    worker: bool


@dataclass(slots=True)
class Harm:
    """Random faults on the workers of a cluster; each dead worker is replaced at once.

    Args:
        lease: seconds; frozen workers are thawed after one and a half of it.
        pause: seconds between two faults, on average.
    """

    cluster: Cluster
    notes: Notes
    workers: list[Program]
    dice: random.Random
    lease: float
    pause: float
    done: Counter[str] = field(default_factory=Counter)
    killed: list[Killed] = field(default_factory=list)
    fell: list[str] = field(default_factory=list)  #: workers that ended by themselves, with the end of what they said
    _frozen: dict[int, float] = field(default_factory=dict)
    _next: float = 0.0

    def step(self) -> None:
        """Thaw who is due, replace who has fallen, and do the next fault when its time has come."""
        now = time.monotonic()
        for slot, until in list(self._frozen.items()):
            if now >= until:
                self.workers[slot].thaw(tree=True)
                del self._frozen[slot]
        for slot, worker in enumerate(self.workers):
            if not worker.alive:
                self.fell.append(f"{worker.name}: {worker.tail(5)}")
                worker.kill_tree()
                self.workers[slot] = self.cluster.start_worker()
        if now >= self._next:
            (fault,) = self.dice.choices(list(FAULTS), list(FAULTS.values()))
            slot = self.dice.choice([slot for slot in range(len(self.workers)) if slot not in self._frozen])
            if self._verbs[fault](slot):
                self.done[fault] += 1
            self._next = time.monotonic() + self.dice.uniform(self.pause / 2, self.pause * 1.5)

    def kill_valkey(self) -> None:
        """SIGKILL, and half a second later a new one on its files."""
        self.cluster.kill_valkey()
        time.sleep(VALKEY_DOWN)
        self.cluster.restart_valkey()
        self.done["Valkey killed"] += 1

    def kill_api(self) -> None:
        """SIGKILL, and a new one."""
        self.cluster.api.kill()
        self.cluster.start_api()
        self.done["API killed"] += 1

    def end(self) -> None:
        """Thaw whoever is frozen."""
        for slot in self._frozen:
            self.workers[slot].thaw(tree=True)
        self._frozen.clear()

    @property
    def _verbs(self) -> dict[str, Callable[[int], bool]]:
        return {
            "worker and its runners killed": lambda slot: self._kill(slot, Program.kill_tree),
            "worker killed alone": lambda slot: self._kill(slot, Program.kill),
            "runner killed": self._kill_runner,
            "worker frozen beyond its lease": self._freeze,
        }

    def _kill(self, slot: int, how: Callable[[Program], None]) -> bool:
        worker = self.workers[slot]
        pids = {worker.pid, *(process.pid for process in worker.offspring())}
        self.killed.append(Killed(time.monotonic(), pids, worker=True))
        how(worker)
        self.workers[slot] = self.cluster.start_worker()
        return True

    def _kill_runner(self, slot: int) -> bool:
        runners = [process for process in self.workers[slot].offspring() if process.pid in self.notes.pids]
        if not runners:  # the worker is not up yet
            return False
        victim = self.dice.choice(runners)
        self.killed.append(Killed(time.monotonic(), {victim.pid}, worker=False))
        with contextlib.suppress(ProcessLookupError):
            victim.kill()
        return True

    def _freeze(self, slot: int) -> bool:
        self.workers[slot].freeze(tree=True)
        self._frozen[slot] = time.monotonic() + self.lease * 1.5
        return True


def recoveries(notes: Notes, killed: list[Killed], *, workers: bool) -> list[float]:
    """Seconds from the kill of a process to the next start of each job that ran in it and ran again, of killed workers or runners."""
    starts: dict[str, list[tuple[int, float]]] = {}
    for run, at in notes.runs:
        starts.setdefault(run.job_id, []).append((run.pid, at))
    found = []
    for kill in killed:
        if kill.worker != workers:
            continue
        for times in starts.values():
            for (pid, began), (_, again) in pairwise(times):
                if pid in kill.pids and began <= kill.at <= again:
                    found.append(again - kill.at)
    return found
