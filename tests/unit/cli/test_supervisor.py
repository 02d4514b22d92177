"""What the supervisor decides, and that it does it with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import psutil
import pytest

from longrun.cli.supervisor import Child, Death, Restart, Supervisor, backoff, describe_exit, next_step, stop_patience
from longrun.embedded import EmbeddedValkey

State = Literal["silent", "answering", "ready"]


def test_a_wrong_start_ends_everything() -> None:
    assert next_step(2, lived=0.3, deaths=0, ready_before=False) is None


def test_the_same_status_later_is_only_a_death() -> None:
    assert next_step(2, lived=0.3, deaths=0, ready_before=True) == Restart(0.5, 1)


@pytest.mark.parametrize("status", [0, 1, -9, -15, 70])
def test_any_other_end_is_followed_by_a_restart(status: int) -> None:
    assert next_step(status, lived=1.0, deaths=0, ready_before=False) == Restart(0.5, 1)


def test_the_pause_doubles_up_to_ten_seconds() -> None:
    assert [backoff(deaths) for deaths in range(1, 8)] == [0.5, 1, 2, 4, 8, 10, 10]
    assert backoff(100_000) == 10


def test_thirty_seconds_of_life_forgive_earlier_deaths() -> None:
    assert next_step(1, lived=29.9, deaths=4, ready_before=True) == Restart(8, 5)
    assert next_step(1, lived=30.0, deaths=4, ready_before=True) == Restart(0.5, 1)


@pytest.mark.parametrize(
    ("status", "told"),
    [(0, "ended with status 0"), (-9, "was killed by SIGKILL"), (-200, "was killed by signal 200"), (2, "ended with status 2")],
)
def test_an_end_is_told_in_words(status: int, told: str) -> None:
    assert describe_exit(status) == told


def test_stopping_takes_four_seconds_at_most_unless_the_grace_is_longer() -> None:
    assert stop_patience(2.0) == 4.0
    assert stop_patience(0.0) == 4.0
    assert stop_patience(30.0) == 32.0
    assert stop_patience(30.0, drain=5.0) == 37.0


def python(code: str, *words: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(code), *words]


def run_until(
    children: list[Child],
    stop: Callable[[], bool],
    *,
    store: EmbeddedValkey | None = None,
    state: State = "ready",
    patience: float = 4.0,
    on_death: Callable[[Death], None] | None = None,
) -> tuple[int, list[str], float]:
    """Run a supervisor, send SIGTERM when `stop` says so; its status, what it said, and how long the stop took."""
    said: list[str] = []
    told: list[float] = []
    done = threading.Event()

    def wait_and_stop() -> None:
        deadline = time.monotonic() + 60
        while not stop() and time.monotonic() < deadline and not done.is_set():
            time.sleep(0.01)
        if not done.is_set():
            told.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=wait_and_stop)
    thread.start()
    try:
        status = Supervisor(children, store, lambda: state, patience=patience, say=said.append, on_death=on_death).run()
    finally:
        ended = time.monotonic()
        done.set()
        thread.join()
    return status, said, ended - (told[0] if told else ended)


def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    log = tmp_path / "starts"
    child = Child("worker", python("import sys, time; open(sys.argv[1], 'a').write('x'); sys.exit(7)", str(log)), dict(os.environ))

    status, said, _ = run_until([child], lambda: log.exists() and log.read_text() == "xx")

    assert status == 0
    assert said[0].startswith("worker ended with status 7 after ")
    assert said[0].endswith("starting it again in 0.5 s")


def test_each_process_gets_an_identity_of_its_own_and_its_death_is_reported_by_it(tmp_path: Path) -> None:
    log = tmp_path / "identities"
    code = "import sys; assert sys.argv[2] == '--identity'; print(sys.argv[3], file=open(sys.argv[1], 'a')); sys.exit(7)"
    child = Child("worker", python(code, str(log)), dict(os.environ), identified=True)
    deaths: list[Death] = []
    run_until([child], lambda: len(deaths) == 2, on_death=deaths.append)
    given = log.read_text().split()
    assert [death.identity for death in deaths] == given[:2]
    assert len(set(given)) == len(given)


def test_a_wrong_start_gives_up_and_takes_the_others_along(tmp_path: Path) -> None:
    log = tmp_path / "pid"
    other = Child(
        "worker", python("import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)", str(log)), dict(os.environ)
    )
    wrong = Child(
        "api",
        python("import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)\nsys.exit(2)", str(log)),
        dict(os.environ),
    )

    status, _, _ = run_until([wrong, other], lambda: False, state="silent")

    assert status == 2
    assert not psutil.pid_exists(int(log.read_text()))


def test_children_that_obey_are_gone_at_once_and_nothing_of_theirs_stays(tmp_path: Path) -> None:
    log = tmp_path / "pid"
    # The grandchild ignores SIGTERM, and its parent forgets about it.
    code = """
        import subprocess, sys, time
        inner = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
        child = subprocess.Popen([sys.executable, "-c", inner])
        open(sys.argv[1], "w").write(str(child.pid))
        time.sleep(60)
    """
    child = Child("worker", python(code, str(log)), dict(os.environ))

    status, said, took = run_until([child], lambda: log.exists() and log.read_text() != "", patience=100)

    assert status == 0
    assert said == ["stopping; the same again does not wait for running jobs"]
    assert took < 60
    _wait(lambda: not _runs(int(log.read_text())))


def test_a_child_that_does_not_obey_is_killed_when_patience_is_over(tmp_path: Path) -> None:
    log = tmp_path / "pid"
    code = """
        import os, signal, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open(sys.argv[1], "w").write(str(os.getpid()))
        time.sleep(60)
    """

    status, _, took = run_until(
        [Child("api", python(code, str(log)), dict(os.environ))], lambda: log.exists() and log.read_text() != "", patience=0.6
    )

    assert status == 0
    assert took > 0.5
    assert not _runs(int(log.read_text()))


def test_a_second_signal_kills_whoever_has_not_ended_a_second_later(tmp_path: Path) -> None:
    log = tmp_path / "pid"
    code = """
        import os, signal, sys, time
        def ask_again(*_): os.kill(int(sys.argv[2]), signal.SIGINT)
        signal.signal(signal.SIGTERM, ask_again)
        open(sys.argv[1], "w").write(str(os.getpid()))
        while True: time.sleep(1)
    """
    child = Child("worker", python(code, str(log), str(os.getpid())), dict(os.environ))

    status, _, took = run_until([child], lambda: log.exists() and log.read_text() != "", patience=100)

    assert status == 0
    assert took < 60
    assert not _runs(int(log.read_text()))


def test_a_child_that_waits_for_the_first_one_starts_when_that_answers(tmp_path: Path) -> None:
    log = tmp_path / "started"
    child = Child(
        "worker", python("import sys, time; open(sys.argv[1], 'w'); time.sleep(60)", str(log)), dict(os.environ), due=time.monotonic() + 60
    )

    status, _, _ = run_until([child], log.exists, state="answering")

    assert status == 0
    assert log.exists()


def test_the_embedded_server_is_brought_back_and_stopped_last() -> None:
    happened: list[str] = []
    child = Child("worker", python("import time; time.sleep(60)"), dict(os.environ))

    class Played(EmbeddedValkey):
        def alive(self) -> bool:
            return happened != []

        def start(self) -> str:
            happened.append("start")
            return ""

        def stop(self, timeout: float = 4.0) -> None:
            happened.append("stop" if child.process is None else "stopped too early")

    _, said, _ = run_until([child], lambda: happened == ["start"], store=Played(Path("unused")))

    assert happened == ["start", "stop"]
    assert said[0] == "the embedded server has ended; starting it again"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has died")
def test_no_child_outlives_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    log = tmp_path / "pid"
    code = """
        import os, sys
        from longrun.cli.supervisor import Child, Supervisor
        inner = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
        child = Child("worker", [sys.executable, "-c", inner, sys.argv[1]], dict(os.environ))
        Supervisor([child], None, lambda: "ready", patience=4, say=print).run()
    """
    supervisor = subprocess.Popen(python(code, str(log)))
    _wait(lambda: log.exists() and log.read_text() != "")

    supervisor.kill()
    supervisor.wait()

    _wait(lambda: not _runs(int(log.read_text())))


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait(ready: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("failing", ["signal", "sweep", "say", "wait", "none"])
def test_a_step_of_the_stop_that_fails_keeps_no_other_from_being_taken(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[float] = []
    children = [Child("api", python("import time; time.sleep(600)"), dict(os.environ)) for _ in range(2)]
    seen: list[subprocess.Popen[bytes]] = []

    class Played(EmbeddedValkey):
        def alive(self) -> bool:
            return True

        def stop(self, timeout: float = 4.0) -> None:
            stopped.append(timeout)

    def fail(*_: object) -> None:
        raise RuntimeError("injected")

    def up() -> bool:
        seen[:] = [child.process for child in children if child.process is not None]
        if len(seen) == 2:
            if failing in ("signal", "sweep"):
                real = Child.sweep
                monkeypatch.setattr(children[0], failing, fail if failing == "signal" else lambda: (real(children[0]), fail()))
            elif failing == "wait":
                monkeypatch.setattr(Supervisor, "_any_left", fail)
        return len(seen) == 2

    class Said(list[str]):
        def append(self, line: str) -> None:
            super().append(line)
            if failing == "say":
                fail()

    said = Said()
    thread = threading.Thread(target=lambda: (_wait(up), os.kill(os.getpid(), signal.SIGTERM)))
    thread.start()
    assert Supervisor(children, Played(Path("unused")), lambda: "ready", patience=4, say=said.append).run() == 0
    thread.join()
    assert stopped and all(process.poll() is not None for process in seen)
    assert sum("injected" in line for line in said) == (0 if failing == "none" else 1)


def test_a_child_that_cannot_be_started_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = Child("worker", python("import time; time.sleep(600)"), dict(os.environ))
    tries: list[int] = []
    real = Child.start

    def start(self: Child) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        real(self)

    monkeypatch.setattr(Child, "start", start)
    status, said, _ = run_until([child], lambda: len(tries) > 1)
    assert status == 0
    assert said[0] == "worker cannot be started: Resource temporarily unavailable; trying again in 0.5 s"
