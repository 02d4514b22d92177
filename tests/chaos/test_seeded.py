"""Random kills for about twenty seconds while a hundred jobs of mixed length run; the history is judged. The seed names the schedule."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from tests.chaos.caller import Caller
from tests.chaos.check import violations
from tests.chaos.cluster import LEASE, Cluster
from tests.chaos.program import Program

pytestmark = pytest.mark.chaos

DURATION = 20.0  # seconds of harm
FAULTS = {"kill worker tree": 4, "kill worker": 3, "kill runner": 3, "freeze worker": 2, "kill api": 2, "kill valkey": 2}


@dataclass(frozen=True, slots=True)
class Step:
    """Wait `pause` seconds, then do harm to worker number `victim`."""

    pause: float
    fault: str
    victim: int


@dataclass(frozen=True, slots=True)
class Order:
    """Wait `pause` seconds, then submit a job of `seconds`."""

    pause: float
    model: str
    seconds: float


def schedule(seed: int) -> tuple[list[Step], list[Order]]:
    """What happens, from the seed alone."""
    dice = random.Random(seed)
    steps: list[Step] = []
    while sum(step.pause for step in steps) < DURATION / 2:  # the other half is spent on killing and starting again
        (fault,) = dice.choices(list(FAULTS), list(FAULTS.values()))
        steps.append(Step(dice.uniform(0.3, 2.0), fault, dice.randrange(2)))
    models = dice.choices(["nap", "grind", "spell"], [6, 2, 2], k=100)
    orders = [Order(dice.uniform(0.0, 0.2), model, dice.choice([0.0, 0.05, 0.2, 1.0 if model != "grind" else 0.1])) for model in models]
    return steps, orders


class Harm:
    """Carries out steps on a cluster with two workers."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._workers = [cluster.start_worker(), cluster.start_worker()]
        self._verbs: dict[str, Callable[[int], None]] = {
            "kill worker tree": lambda victim: self._replace(victim, Program.kill_tree),
            "kill worker": lambda victim: self._replace(victim, Program.kill),
            "kill runner": self._kill_runner,
            "freeze worker": self._freeze,
            "kill api": lambda _: self._kill_api(),
            "kill valkey": lambda _: self._kill_valkey(),
        }

    def do(self, step: Step) -> None:
        """Wait, then do it."""
        time.sleep(step.pause)
        print(f"{step.fault} {step.victim}")
        self._verbs[step.fault](step.victim)

    def _replace(self, victim: int, kill: Callable[[Program], None]) -> None:
        kill(self._workers[victim])
        self._workers[victim] = self._cluster.start_worker()

    def _kill_runner(self, victim: int) -> None:
        runners = {run.pid for run in self._cluster.runs()}
        for process in self._workers[victim].offspring():
            if process.pid in runners:
                process.kill()

    def _freeze(self, victim: int) -> None:
        self._workers[victim].freeze(tree=True)
        time.sleep(LEASE * 1.5)
        self._workers[victim].thaw(tree=True)

    def _kill_api(self) -> None:
        self._cluster.api.kill()
        self._cluster.start_api()

    def _kill_valkey(self) -> None:
        self._cluster.kill_valkey()
        time.sleep(0.3)
        self._cluster.restart_valkey()


def test_a_hundred_jobs_survive_random_kills(cluster: Cluster, caller: Caller, seed: int) -> None:
    steps, orders = schedule(seed)
    print(f"seed {seed}: {steps}")

    def submit_all() -> None:
        for number, order in enumerate(orders):
            time.sleep(order.pause)
            caller.submit(order.model, f"job {number} of seed {seed}", order.seconds)

    client = threading.Thread(target=submit_all)
    client.start()
    harm = Harm(cluster)
    for step in steps:
        harm.do(step)
    client.join()
    caller.wait_for_all(within=60)
    history = caller.collect()
    assert violations(history) == []
    assert len(history.accepted) == 100


def test_a_seed_always_names_the_same_schedule() -> None:
    assert schedule(7) == schedule(7)
    assert schedule(7) != schedule(8)
    assert {step.fault for seed in range(20) for step in schedule(seed)[0]} == set(FAULTS)
