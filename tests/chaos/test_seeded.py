"""Random faults for about twenty seconds while a hundred jobs of every kind run; the history is judged. The seed names the schedule."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from tests.chaos.blob_store import away, held, left_after_all
from tests.chaos.caller import Caller
from tests.chaos.check import judge
from tests.chaos.cluster import LEASE, Cluster
from tests.chaos.program import Program, until
from tests.chaos.receiver import WEBHOOKS_AT_ONCE, Answer, Receiver, at_first

pytestmark = pytest.mark.chaos

DURATION = 20.0  # seconds of harm
FAULTS = {
    "kill worker tree": 4,
    "kill worker": 3,
    "kill runner": 3,
    "freeze worker": 2,
    "worker with a failpoint": 4,
    "kill api": 2,
    "kill valkey": 2,
    "freeze the way to valkey": 2,
    "reset all connections": 3,
    "lose a reply": 3,
    "half-open connections": 1,
    "blob store away": 2,
}
#: Where the worker with a failpoint dies, and how many times it gets there before.
POINTS = ["pop", "claim", "append", "finish", "heartbeat", "retry_later", "sweep", "republish", "put"]


@dataclass(frozen=True, slots=True)
class Step:
    """Wait `pause` seconds, then do harm to worker number `victim`; `failpoint` and `script` are for faults that need one."""

    pause: float
    fault: str
    victim: int
    failpoint: str = ""
    script: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """Wait `pause` seconds, then submit a job of `seconds`; with a file of `film` bytes, and with a text that is no part of a record."""

    pause: float
    model: str
    seconds: float
    film: int | None = None
    long: bool = False

    def asked(self, name: str) -> tuple[str, bytes | None]:
        """Text and file, from `name` alone."""
        film = None if self.film is None else random.Random(name).randbytes(self.film)
        return name + " at length" * 10_000 if self.long else name, film


def schedule(seed: int) -> tuple[list[Step], list[Order]]:
    """What happens, from the seed alone."""
    dice = random.Random(seed)
    steps: list[Step] = []
    while sum(step.pause for step in steps) < DURATION / 2:  # the other half is spent on killing and starting again
        (fault,) = dice.choices(list(FAULTS), list(FAULTS.values()))
        point = dice.choice(POINTS)
        when = "after" if point == "pop" else dice.choice(["before", "after"])
        failpoint, script = f"{when}:{point}:{dice.randint(1, 8)}=exit", dice.choice(["submit", "claim", "finish", "read", "heartbeat"])
        steps.append(Step(dice.uniform(0.3, 2.0), fault, dice.randrange(2), failpoint, script))
    models = dice.choices(["nap", "grind", "spell", "weigh", "waver"], [5, 2, 2, 1, 1], k=100)
    orders = [Order(dice.uniform(0.0, 0.2), model, dice.choice([0.0, 0.05, 0.2, 1.0 if model != "grind" else 0.1])) for model in models]
    for number in range(0, 100, 5):
        film = dice.choice([1, 5_000, 300_000])
        orders[number] = replace(
            orders[number], model="develop", seconds=dice.choice([0.0, 0.05, 0.2]), film=film, long=dice.random() < 0.3
        )
    return steps, orders


class Harm:
    """Carries out steps on a cluster with two workers."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._workers = [cluster.start_worker(), cluster.start_worker()]
        self._proxies = list(cluster.proxies.values())
        self._verbs: dict[str, Callable[[Step], None]] = {
            "kill worker tree": lambda step: self._replace(step.victim, Program.kill_tree),
            "kill worker": lambda step: self._replace(step.victim, Program.kill),
            "kill runner": lambda step: self._kill_runner(step.victim),
            "freeze worker": lambda step: self._freeze(step.victim),
            "worker with a failpoint": lambda step: self._replace(step.victim, Program.kill_tree, CHAOS_FAILPOINT=step.failpoint),
            "kill api": lambda _: self._kill_api(),
            "kill valkey": lambda _: self._kill_valkey(),
            "freeze the way to valkey": lambda step: self._freeze_the_way(step.victim),
            "reset all connections": lambda _: [proxy.reset() for proxy in self._proxies],  # type: ignore[dict-item, return-value]
            "lose a reply": lambda step: self._lose_a_reply(step.script),
            "half-open connections": lambda step: self._proxies[step.victim].half_open(),
            "blob store away": lambda _: self._take_the_blob_store_away(),
        }

    def do(self, step: Step) -> None:
        """Wait, then do it."""
        time.sleep(step.pause)
        print(f"{step.fault} {step.victim} {step.failpoint} {step.script}")
        for number, worker in enumerate(self._workers):
            if not worker.alive:  # it met its failpoint
                self._replace(number, Program.kill_tree)
        self._verbs[step.fault](step)

    def end(self) -> None:
        """No harm from now on; two workers are there."""
        for number in range(2):
            self._replace(number, Program.kill_tree)

    def _replace(self, victim: int, kill: Callable[[Program], None], **env: str) -> None:
        kill(self._workers[victim])
        self._workers[victim] = self._cluster.start_worker(**env)

    def _freeze_the_way(self, whose: int) -> None:
        self._proxies[whose].freeze()
        time.sleep(LEASE * 1.2)
        self._proxies[whose].thaw()

    def _lose_a_reply(self, script: str) -> None:
        for proxy in self._proxies:
            proxy.swallow_reply(self._cluster.sha(script))

    def _kill_runner(self, victim: int) -> None:
        runners = {run.pid for run in self._cluster.runs()}
        for process in self._workers[victim].offspring():
            if process.pid in runners:
                process.kill()

    def _freeze(self, victim: int) -> None:
        self._workers[victim].freeze(tree=True)
        time.sleep(LEASE * 1.5)
        self._workers[victim].thaw(tree=True)

    def _take_the_blob_store_away(self) -> None:
        if not held(self._cluster):
            return  # there is no folder yet
        with away(self._cluster):
            time.sleep(LEASE * 0.8)

    def _kill_api(self) -> None:
        self._cluster.api.kill()
        self._cluster.start_api()

    def _kill_valkey(self) -> None:
        self._cluster.kill_valkey()
        time.sleep(0.3)
        self._cluster.restart_valkey()


@pytest.mark.gate
@pytest.mark.cluster(proxied=("api", "worker"), settings=WEBHOOKS_AT_ONCE)
def test_a_hundred_jobs_survive_random_faults(cluster: Cluster, caller: Caller, receiver: Receiver, seed: int) -> None:
    steps, orders = schedule(seed)
    print(f"seed {seed}: {steps}")
    receiver.behave = at_first(Answer(500))

    def submit_all() -> None:
        for number, order in enumerate(orders):
            time.sleep(order.pause)
            told = {"webhook": receiver.hook()} if number % 4 == 0 else {}
            text, film = order.asked(f"job {number} of seed {seed}")
            job_id = caller.submit(order.model, text, order.seconds, follow=number % 10 == 0, film=film, **told)
            caller.history.hooked |= {job_id} if told else set()

    client = threading.Thread(target=submit_all)
    client.start()
    harm = Harm(cluster)
    for step in steps:
        harm.do(step)
    client.join()
    harm.end()
    caller.wait_for_all(within=120)
    until(lambda: all(receiver.took(job_id) for job_id in caller.history.hooked), "all ends were delivered", timeout=120)
    caller.history.deliveries = list(receiver.deliveries)
    history = caller.collect()
    history.left = left_after_all(cluster, caller)
    judge(history, seed=seed)
    assert len(history.accepted) == 100


def test_a_seed_always_names_the_same_schedule() -> None:
    assert schedule(7) == schedule(7)
    assert schedule(7) != schedule(8)
    assert {step.fault for seed in range(20) for step in schedule(seed)[0]} == set(FAULTS)
