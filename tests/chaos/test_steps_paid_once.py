"""P1: whatever is killed, and when, what had finished is paid once, each flow goes on once, and what is repeated bears the same key."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.chaos.program import Program
from tests.chaos.trees import APP, Flows

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


def survive(flows: Flows, *kills: Kill, name: str, width: int, rehearse: bool = False) -> int:
    """Run flows of each kind through these kills, and judge them. To how many of them it came."""
    cluster, caller = flows.cluster, flows.caller
    submit_all(flows, name, width=width)
    doomed = worker = start_worker(flows, *kills, rehearse=rehearse)
    deadline = time.monotonic() + 150
    while caller.history.unfinished():
        assert time.monotonic() < deadline, f"these have not ended: {[(each, caller.status(each)) for each in caller.history.unfinished()]}"
        if not _alive(cluster.valkey_pid):
            cluster.restart_valkey()
            (cluster.folder / "valkey.pid").write_text(str(cluster.valkey_pid))
        if not worker.alive:
            worker = start_worker(flows, rehearse=rehearse)
        time.sleep(0.02)
    worker.kill_tree()
    flows.judge()
    return doomed.log.read_text(errors="replace").count("\nfailpoint ") + doomed.log.read_text(errors="replace").startswith("failpoint ")


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
    assert survive(flows, kill, name="once", width=8)


@FLOWS
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_p1_nothing_is_paid_again_when_flows_are_let_go_at_every_wait(flows: Flows, when: str, victim: str) -> None:
    assert survive(flows, Kill(when, "let_go", 4, victim), name="let go", width=8, rehearse=True)


def schedule(seed: int, rounds: int = 8) -> list[tuple[list[Kill], bool]]:
    """Kills, and whether flows are let go at every wait meanwhile; from the seed alone. Runners are replaced, and die several times."""
    dice = random.Random(seed)
    made = []
    for _ in range(rounds):
        rehearse = dice.random() < 0.3
        scripts = SCRIPTS if rehearse else [name for name in SCRIPTS if name not in ("let_go", "history")]
        kills = []
        for victim in [*["runner"] * dice.randint(0, 4), dice.choice(VICTIMS)]:
            script = dice.choice(scripts)
            most = {"heartbeat": 4, "journal": 2, "let_go": 8, "resume": 20, "history": 6}.get(script, 60)
            kills.append(Kill(dice.choice(["before", "after"]), script, dice.randint(1, most), victim))
        made.append((kills, rehearse))
    return made


@FLOWS
def test_p1_flows_survive_random_kills(flows: Flows, seed: int) -> None:
    fired = 0
    for number, (kills, rehearse) in enumerate(schedule(seed)):
        print(f"seed {seed}, round {number}: {kills}, rehearse {rehearse}")
        fired += survive(flows, *kills, name=f"round {number}", width=20, rehearse=rehearse)
    print(f"seed {seed}: {fired} kills, {len(flows.provider.calls)} paid calls, {flows.repeated} of them repeated")
    assert fired


def test_p1_a_seed_always_names_the_same_kills() -> None:
    assert schedule(7) == schedule(7)
    assert schedule(7) != schedule(8)
