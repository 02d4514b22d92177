"""Keeps the child processes of `longrun serve` alive, and ends them all when it ends.

Decisions (`next_step`, `backoff`, `describe_exit`) are pure; `Supervisor` carries them out. Everything runs on the main thread: Linux ends
a child when the *thread* that started it ends (PR_SET_PDEATHSIG), and the main thread lives as long as the process.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Literal, NamedTuple

from longrun.clock import new_identity
from longrun.errors import SettingsError
from longrun.observe.output import given
from longrun.start import ignores_hangups
from longrun.steps import take_steps

if TYPE_CHECKING:
    from longrun.embedded import EmbeddedValkey

#: Exit status of a command that was started wrongly: it will not go better the next time.
WRONG_START = 2
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
STEADY = 30.0  # seconds of life after which earlier deaths are forgiven
_TICK = 0.2
_IDLE_TICK = 1.0
_KILLED = 0.9  # seconds for the embedded server to stop once nobody uses it
_HURRY = 1.0  # seconds for a child that is signalled a second time: a worker hands its jobs back
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Restart(NamedTuple):
    """Start the child again after `pause` seconds; `deaths` in a row are counted so far."""

    pause: float
    deaths: int


class Death(NamedTuple):
    """A child has ended that was not asked to.

    Attributes:
        role: `api` or `worker`.
        pid: its process id, for messages.
        status: its exit status; negative = the signal that killed it.
        deaths: in a row, this one among them.
        pause: seconds until the next start.
        identity: that it was given, see `Child`; empty = none.
    """

    role: str
    pid: int
    status: int
    deaths: int
    pause: float
    identity: str


def next_step(status: int, *, lived: float, deaths: int, ready_before: bool) -> Restart | None:
    """What to do when a child has ended that was not asked to. None: end everything, with status WRONG_START.

    Args:
        status: its exit status; negative = the signal that killed it.
        lived: seconds since its start.
        deaths: how often in a row it had died before.
        ready_before: whether everything was ready at some time. Until then a wrong start is the user's to mend; after it,
            it may be a file that is being edited.
    """
    if status == WRONG_START and not ready_before:
        return None
    deaths = 1 if lived >= STEADY else deaths + 1
    return Restart(backoff(deaths), deaths)


def backoff(deaths: int) -> float:
    """Seconds to wait after that many deaths in a row: 0.5, 1, 2, 4, 8, then 10."""
    return float(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(deaths - 1, 10)))


def describe_exit(status: int) -> str:
    """How a process ended, in words."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def stop_patience(grace: float, drain: float = 0.0) -> float:
    """Seconds from the signal to stop to SIGKILL: the API's drain, the grace, and time to hand jobs back."""
    return max(4.0, drain + grace + 2.0)


@dataclass
class Child:
    """One process to keep alive.

    Args:
        role: `api` or `worker`, for messages.
        command: program and arguments.
        env: its whole environment.
        pass_fds: file descriptors that it inherits.
        due: monotonic time of the next start.
        identified: each of its processes gets an identity, as `--identity`, by which its death is reported.
    """

    role: str
    command: Sequence[str]
    env: Mapping[str, str]
    pass_fds: tuple[int, ...] = ()
    due: float = 0.0
    identified: bool = False
    identity: str = field(default="", init=False)
    deaths: int = field(default=0, init=False)
    started: float = field(default=0.0, init=False)
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start it in a session of its own, so that Ctrl-C reaches only us; on Linux it ends when we end."""
        from longrun.embedded.valkey import tied

        # SIGHUP, because the store goes with us: an API ends at once, a worker as soon as it has handed its jobs back.
        command = list(self.command)
        if self.identified:
            self.identity = new_identity()
            command += ["--identity", self.identity]
        command = tied(command, signal.SIGHUP)
        self.process = subprocess.Popen(
            command,
            env=self.env,
            pass_fds=self.pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=given(1),
            stderr=given(2),
            start_new_session=True,
        )
        self.started = time.monotonic()

    def signal(self, number: signal.Signals) -> None:
        """Signal the process itself, not its children: it ends them in its own order."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def sweep(self) -> None:
        """Kill whatever is left of it and of what it started."""
        if self.process is not None:
            # Nothing else can have the number: the group lives on while a member does, and otherwise was reaped a moment ago.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


class Supervisor:
    """Runs children until a signal says stop.

    Args:
        children: in the order of their start.
        store: the embedded server, stopped last; None = the store runs elsewhere.
        watch_start: called about five times a second until it says `ready`; `answering` lets children start that wait for it.
        patience: seconds from the signal to stop to SIGKILL.
        say: prints a line for the user.
        on_death: called with each child that has died and is to be started again; must not block.
    """

    def __init__(
        self,
        children: Sequence[Child],
        store: EmbeddedValkey | None,
        watch_start: Callable[[], Literal["silent", "answering", "ready"]],
        *,
        patience: float,
        say: Callable[[str], None],
        on_death: Callable[[Death], None] | None = None,
    ) -> None:
        self._children = children
        self._store = store
        self._watch_start = watch_start
        self._patience = patience
        self._say = say
        self._on_death = on_death
        self._stops = 0
        self._ready = False
        self._store_due, self._store_deaths = 0.0, 0

    def run(self) -> int:
        """Start everything and stay until the end. Returns the exit status: 0 after SIGINT, SIGTERM or SIGHUP.

        A second signal hurries the children, and kills what is still there a second later; a third one kills at once.
        """
        with self._signals() as wake:
            try:
                while not self._stops:
                    for child in self._children:
                        if not self._look_after(child):
                            return WRONG_START
                    self._look_after_store()
                    self._look_at_start()
                    self._sleep(wake, _IDLE_TICK if self._ready else _TICK)
            finally:
                self._stop(wake)
        return 0

    def _look_after(self, child: Child) -> bool:
        """Whether to go on."""
        now = time.monotonic()
        if child.process is None:
            if now >= child.due:
                self._start(child, now)
            return True
        status = child.process.poll()
        if status is None:
            return True
        pid = child.process.pid
        child.sweep()
        step = next_step(status, lived=now - child.started, deaths=child.deaths, ready_before=self._ready)
        if step is None:
            return False
        child.deaths, child.due = step.deaths, now + step.pause
        if self._on_death is not None:
            self._on_death(Death(child.role, pid, status, step.deaths, step.pause, child.identity))
        self._say(f"{child.role} {describe_exit(status)} after {now - child.started:.1f} s; starting it again in {step.pause:g} s")
        return True

    def _start(self, child: Child, now: float) -> None:
        try:
            child.start()
        except OSError as error:
            child.deaths += 1
            child.due = now + backoff(child.deaths)
            self._say(f"{child.role} cannot be started: {error.strerror}; trying again in {backoff(child.deaths):g} s")

    def _look_after_store(self) -> None:
        now = time.monotonic()
        if self._store is None or now < self._store_due or self._store.alive():
            return
        self._store_deaths += 1
        self._store_due = now + backoff(self._store_deaths)
        self._say("the embedded server has ended; starting it again")
        try:
            self._store.start()
        except (SettingsError, OSError) as error:
            self._say(f"{error}\ntrying again in {backoff(self._store_deaths):g} s")
        else:
            self._store_deaths, self._store_due = 0, 0.0

    def _look_at_start(self) -> None:
        if self._ready:
            return
        state = self._watch_start()
        self._ready = state == "ready"
        if state != "silent":
            for child in self._children:
                child.due = min(child.due, time.monotonic()) if child.deaths == 0 else child.due

    def _stop(self, wake: socket.socket) -> None:
        take_steps(
            (
                ("report the stop", self._report_stop),
                ("stop the children", lambda: self._ask_to_stop(wake, 1, self._patience)),
                ("hurry the children", lambda: self._ask_to_stop(wake, 2, _HURRY) if self._stops >= 2 else None),
                *((f"end {child.role}", child.sweep) for child in self._children),
                *(() if self._store is None else (("stop the embedded server", partial(self._store.stop, _KILLED)),)),
            ),
            self._report_failure,
        )

    def _report_stop(self) -> None:
        if self._stops == 1:
            self._say("stopping; the same again does not wait for running jobs")

    def _report_failure(self, step: str, error: BaseException) -> None:
        self._say(f"error: {step}: {type(error).__name__}: {error}")

    def _ask_to_stop(self, wake: socket.socket, stops: int, patience: float) -> None:
        """Signal every child, and wait for the ends of all, `patience` seconds at most and until one more signal than `stops` has come."""
        take_steps(((f"stop {child.role}", partial(child.signal, signal.SIGTERM)) for child in self._children), self._report_failure)
        deadline = time.monotonic() + patience
        while self._stops <= stops and time.monotonic() < deadline and self._any_left():
            self._sleep(wake, 0.05)

    def _any_left(self) -> bool:
        return any(child.process is not None and child.process.poll() is None for child in self._children)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[socket.socket]:
        """Count signals to stop; the socket becomes readable with every signal, SIGCHLD included."""
        wake, ring = socket.socketpair()
        wake.setblocking(False)
        ring.setblocking(False)

        def on_signal(number: int, frame: FrameType | None) -> None:
            self._stops += number != signal.SIGCHLD

        heard = [number for number in _STOP_SIGNALS if number != signal.SIGHUP or not ignores_hangups()]
        old = {number: signal.signal(number, on_signal) for number in (*heard, signal.SIGCHLD)}
        old_fd = signal.set_wakeup_fd(ring.fileno(), warn_on_full_buffer=False)
        try:
            yield wake
        finally:
            signal.set_wakeup_fd(old_fd)
            for number, handler in old.items():
                signal.signal(number, handler)
            wake.close()
            ring.close()

    @staticmethod
    def _sleep(wake: socket.socket, seconds: float) -> None:
        """Sleep, but wake up for a signal or the end of a child."""
        select.select([wake], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            wake.recv(512)
