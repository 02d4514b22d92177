"""P1: whatever is killed, and when, what had finished is paid once, each flow goes on once, and what is repeated bears the same key."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.chaos.program import Program, until
from tests.chaos.trees import APP, Flows, wait_until_fired

pytestmark = pytest.mark.chaos

FLOWS = pytest.mark.cluster(app=APP)
SCRIPTS = ["ask", "resume", "journal", "let_go", "claim", "finish", "history", "heartbeat"]
VICTIMS = ["worker", "runner", "valkey"]


@dataclass(frozen=True, slots=True)
class Kill:
    """`victim` dies before or after a worker sends `script` for the n-th time."""

    when: str
    script: str
    number: int
    victim: str

    def failpoint(self, folder: Path) -> str:
        """As the worker is told."""
        what = {"worker": "exit", "runner": f"kill:{folder}/runs.log", "valkey": f"kill:{folder}/valkey.pid"}[self.victim]
        return f"{self.when}:{self.script}:{self.number}={what}"


def start_worker(flows: Flows, *kills: Kill, rehearse: bool = False) -> Program:
    """A worker that meets these."""
    cluster = flows.cluster
    (cluster.folder / "valkey.pid").write_text(str(cluster.valkey_pid))
    more = {"CHAOS_FAILPOINT": ",".join(kill.failpoint(cluster.folder) for kill in kills)} if kills else {}
    return cluster.start_worker(*(["--rehearse"] if rehearse else []), CHAOS_PROVIDER=flows.provider.url, **more)


def submit_all(flows: Flows, name: str, *, width: int) -> None:
    """One flow of each kind."""
    for kind in ("chain", "fan", "nest"):
        more = {"chain": {}, "fan": {"width": width}, "nest": {"depth": 1 if width < 20 else 2}}[kind]
        flows.submit(kind, f"{name} {kind}", **more)
        flows.submit(f"{kind}_sync", f"{name} {kind} sync", **more)


def survive(flows: Flows, kill: Kill, name: str, *, width: int, rehearse: bool = False) -> bool:
    """Run flows of each kind through this kill, and judge them. Whether it came to it."""
    cluster = flows.cluster
    submit_all(flows, name, width=width)
    worker = start_worker(flows, kill, rehearse=rehearse)
    fired = wait_until_fired(cluster, flows.caller, worker, timeout=90)
    if fired and kill.victim == "valkey":
        until(lambda: not _alive(cluster.valkey_pid), "the store is dead", timeout=10)
        cluster.restart_valkey()
    if fired and kill.victim == "worker":
        until(lambda: not worker.alive, "the worker is dead", timeout=10)
        worker = start_worker(flows, rehearse=rehearse)
    flows.caller.wait_for_all(within=120)
    worker.kill_tree()
    flows.judge()
    return fired


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


@FLOWS
@pytest.mark.parametrize(
    "kill",
    [
        pytest.param(Kill("after", "ask", 6, "worker"), marks=pytest.mark.gate),
        pytest.param(Kill("before", "journal", 1, "runner"), marks=pytest.mark.gate),
        pytest.param(Kill("after", "finish", 9, "valkey"), marks=pytest.mark.gate),
        *(Kill(when, script, number, victim) for script, number in (("ask", 9), ("resume", 3), ("journal", 1), ("finish", 14))
          for when in ("before", "after") for victim in VICTIMS),
    ],
    ids=lambda kill: f"{kill.victim} {kill.when} {kill.script} {kill.number}",
)  # fmt: skip
def test_p1_what_had_finished_is_paid_once_whoever_is_killed(flows: Flows, kill: Kill) -> None:
    assert survive(flows, kill, "once", width=8)


@FLOWS
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_p1_nothing_is_paid_again_when_flows_are_let_go_at_every_wait(flows: Flows, when: str, victim: str) -> None:
    assert survive(flows, Kill(when, "let_go", 4, victim), "let go", width=8, rehearse=True)


def schedule(seed: int, rounds: int = 8) -> list[tuple[Kill, bool]]:
    """Kills, and whether flows are let go at every wait meanwhile; from the seed alone."""
    dice = random.Random(seed)
    made = []
    for _ in range(rounds):
        rehearse = dice.random() < 0.3
        script = dice.choice(SCRIPTS if rehearse else [name for name in SCRIPTS if name not in ("let_go", "history")])
        most = {"heartbeat": 4, "journal": 2, "let_go": 8, "resume": 20, "history": 6}.get(script, 60)
        made.append((Kill(dice.choice(["before", "after"]), script, dice.randint(1, most), dice.choice(VICTIMS)), rehearse))
    return made


@FLOWS
def test_p1_flows_survive_random_kills(flows: Flows, seed: int) -> None:
    fired = 0
    for number, (kill, rehearse) in enumerate(schedule(seed)):
        print(f"seed {seed}, round {number}: {kill}, rehearse {rehearse}")
        fired += survive(flows, kill, f"round {number}", width=20, rehearse=rehearse)
    print(f"seed {seed}: {fired} kills, {len(flows.provider.calls)} paid calls, {flows.repeated} of them repeated")
    assert fired


def test_p1_a_seed_always_names_the_same_kills() -> None:
    assert schedule(7) == schedule(7)
    assert schedule(7) != schedule(8)
