"""The steps of one run: what its code asks for, what it waits for, and what is to be sent for that. No I/O, no loop, no thread.

One thread uses it, that of the author's code. The code asks (through `job.…`), and gets an `Await`. The port sends the frames that
`turn` gives, with id and fence added (`kind, id, fence, *rest`), and hands what comes to `feed`; an `Await` that is over calls its
`on_done`, in `turn`, `feed` or `stop`. `turn` is asked whenever all tasks of the run have come to rest: none can go on before something
happens. It wakes the code of one `Await` at a time, and is asked again when that has come to rest too: so a replay goes the same way (S31).
`parked`: the worker has said that the run waits and holds no slot. When its code goes on all the same (a timer of its own), the port
says so by `awake`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson

from longrun.errors import Canceled, StepNotAwaited
from longrun.models.steps.awaits import Await, Outcome, Step, Want
from longrun.models.steps.branch import Branch, branch_here
from longrun.models.steps.identity import Found, Identities
from longrun.models.steps.journal import History, Mark
from longrun.models.steps.order import Order
from longrun.models.steps.outbox import Frame, Outbox
from longrun.models.steps.recorded import recorded
from longrun.models.steps.start import Start
from longrun.models.steps.warnings import changed_input, unused_steps


class Flow:
    """The steps of one run.

    Args:
        start: what is known of it.
        history: its journal; empty = there is none.
        warn: gets warnings for the job's log.
        now: seconds since 1970.
        stale: makes what is raised in the code when the claim is stale, or the job is to stop.
    """

    def __init__(
        self,
        start: Start,
        history: History | None = None,
        *,
        warn: Callable[[str], None] = lambda _: None,
        now: Callable[[], float] = time.time,
        stale: Callable[[], BaseException] = Canceled,
    ) -> None:
        self.start = start
        self.main = Branch()
        self.parked = False  #: the run waits, and holds no slot
        self.woke = False  #: the last `turn` has waked code: ask again when that is at rest
        self.silent = bool(history and history.entries)  #: the code repeats what it has done before, so what it reports is known (S37)
        self._history = history or History()
        self._identities = Identities(self._history.entries, start.code)
        self._outbox = Outbox()
        self.warn, self._now, self._stale = warn, now, stale
        self._steps: dict[str, Step] = {}
        self._undecided: list[Step] = []
        self._awaits: dict[Await, None] = {}
        self.closing: Await | None = None  #: when `end` was called: wait for that, and the log is complete
        self._sending: list[Await] = []
        self._arrived = Order(self._history.ends)
        self._last = max(self._history.entries, key=lambda key: self._history.entries[key].at, default="")
        self._spent: dict[str, float] = {}
        self._closed: Callable[[], BaseException] | None = None
        self.not_started: dict[Coroutine[Any, Any, Any], str] = {}  #: calls that have to be awaited, and were not yet (S39)

    # -- for `job.…` ------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise what ends the code, if it is to end."""
        if self._closed is not None:
            raise self._closed()

    def branch(self) -> Branch:
        """Where the running code stands."""
        return branch_here(self.main)

    def begin(self, steps: Iterable[Step], *, fail_fast: bool = False, first: bool = False) -> Await:
        """Ask for steps, and wait for them by a rule (see `Await`). Those that are no longer `undecided` are waited for alone.

        Raises:
            StepConflict: a name is used for something else; then nothing of this was asked for.
        """
        self.check()
        waiting = Await([], fail_fast=fail_fast, first=first)
        self.extend(waiting, steps)
        return self.wait_for(waiting)

    def extend(self, waiting: Await, steps: Iterable[Step]) -> None:
        """Ask for more steps, which belong to this `Await`. Raises as `begin`."""
        self.check()
        asked = list(steps)
        named = [self._identities.named(each.want) if each.state == "undecided" and each.want.name else None for each in asked]
        for step, found in zip(asked, named, strict=True):
            waiting.add(self._asked(step, found))

    def wait_for(self, waiting: Await, *, spare: int = 0) -> Await:
        """Wait until no more than so many of its steps are left; the same `Await`."""
        self.check()
        if not waiting.again(spare):
            self._awaits[waiting] = None
        return waiting

    def sent(self, of: Await) -> Await:
        """Wait until all that was asked for is on its way: thus not all inputs of many steps are here at once. To be given up with `of`."""
        waiting = Await([], of=of)
        if self._undecided or self._outbox.has_asks:
            self._sending.append(waiting)
        else:
            waiting.look()
        return waiting

    def _asked(self, step: Step, found: Found | None) -> Step:
        if found is not None:
            if found.key not in self._steps:
                self._decided(step, found)
            return self._steps[found.key]
        if step.state == "undecided":
            self._undecided.append(step)
        return step

    def local(self, want: Want) -> tuple[Step, bool]:
        """A step that is a function, and whether it is to be called now: then `record` its result. Otherwise wait for the step.

        Raises:
            StepConflict: the name is used for something else.
        """
        self.check()
        found = self._identities.named(want)
        if found.key in self._steps:
            return self._steps[found.key], False
        step = self._steps[found.key] = Step(want, (), found.key, self._mark(want), "running")
        outcome = recorded(found.entry, self.start.epoch, self.start.again)
        if outcome is None:
            self.silent = False
            return step, True
        if found.changed:
            self.warn(changed_input(want, named=True))
        step.outcome = outcome
        self._give(step)
        return step, False

    def begun(self, step: Step, attempt: int) -> Await:
        """Journal that a local step begins now; when that is kept, `is_mine` says whether it is this attempt that has begun it."""
        return self._journal(step, "b", str(attempt).encode())

    def record(self, step: Step, data: bytes, *, failed: bool = False) -> Await:
        """Journal how a local step ended, and wait until that is kept; the outcome counts for all who wait for it."""
        waiting = self._journal(step, "f" if failed else "d", data)
        step.outcome = Outcome("failed" if failed else "succeeded", data)
        self._give(step)
        return waiting

    def leave(self, step: Step, outcome: Outcome) -> None:
        """A local step has come to nothing that is journaled; who else waits for it gets this."""
        self._steps.pop(step.key, None)
        step.outcome = outcome
        self._give(step)

    def _journal(self, step: Step, kind: str, data: bytes) -> Await:
        self.check()
        kept = Step(step.want, state="asked")
        text = f"{kind} {step.mark} ".encode() + data
        self._outbox.journal(step.key, text, kept=kept)
        waiting = Await([kept])
        self._awaits[waiting] = None
        return waiting

    def now(self) -> datetime:
        """The time, the same at each run; journaled without waiting."""
        self.check()
        place = self.branch().place("now")
        if (entry := self._history.entries.get(f"now:{place}")) is not None and entry.kind == "d":
            return datetime.fromisoformat(orjson.loads(entry.rest))
        self.silent = False
        at = datetime.fromtimestamp(self._now(), UTC)
        self._outbox.journal(f"now:{place}", f"d {Mark(self.start.code, place, '')} ".encode() + orjson.dumps(at.isoformat()))
        return at

    def reopen(self, step: Step) -> None:
        """The value of a wait does not fit its type: drop it, and go on waiting (S22)."""
        if step.state == "given":
            self._outbox.unsignal(step.want.name)
            step.outcome = None
            self._outbox.ask(step, known=True)

    def step(self, key: str) -> Step | None:
        """A step that the code has asked for and not got, by its key; a named one also later."""
        return self._steps.get(key)

    def spent(self, name: str) -> float:
        """The sum of what steps have used whose outcomes the code has got."""
        return self._spent.get(name, 0.0)

    def has(self, name: str) -> bool:
        """Whether a step of this name was there when the attempt began."""
        return any(prefix + name in self._history.entries for prefix in ("n:", "l:", "s:"))

    # -- for the port -----------------------------------------------------------------------------------------------------

    def turn(self, *, idle: bool, hold: bool = True) -> list[Frame]:
        """What is to be sent now; before that the code of one `Await` may be waked (`woke`). To be called when all tasks are at rest.

        Args:
            idle: only steps can bring the run on: nothing else is under way (a timer, I/O, a thread).
            hold: while the code repeats, wait for what else is under way: it may ask for steps too. False when that takes long (a second).
        """
        self.woke = False
        if self._closed is not None:
            return []
        sure = idle or not hold or not self.silent
        self._decide(sure=sure)
        asks = self._undecided or self._outbox.has_asks
        replays = self._arrived.repeats
        if not (replays and (asks or self._outbox.busy)):
            self._deliver(sure=sure or not replays)
        busy = self.woke or self._arrived or self._undecided or self._sending or self._outbox.writing
        waits = idle and not busy and bool(self._awaits)
        frames = self._outbox.take(self._need() if waits else 0, parked=self.parked)
        if self._sending and not self._undecided and not self._outbox.has_asks:
            sent, self._sending = self._sending, []
            for waiting in sent:
                self.woke = waiting.look() or self.woke
        return frames

    def feed(self, kind: str, n: int, *rest: Any) -> None:
        """A frame has come, without its id and fence: `answer`, `kept` or `stale`. Ask `turn` afterwards."""
        if kind == "stale":
            self.stop(self._stale)
        elif kind == "kept":
            for step, value in self._outbox.kept(n, *rest):
                step.outcome = Outcome("succeeded", value)
                self._give(step)
            if self.closing is not None and self.closing.done:
                self.warn(unused_steps(self.closing.steps))
                self.closing = None
        else:
            seen, waits, _, results = rest
            self._outbox.answered(n, seen)
            # A wake-up that comes by pieces says so until the last one: the run waits as it did.
            self.parked = bool(waits) and (n != 0 or self.parked)
            for result in results:
                self._take(result)

    def awake(self) -> list[Frame]:
        """Its code goes on though no step has ended: what is to be said to the worker."""
        was, self.parked = self.parked, False
        return [("awake",)] if was else []

    def abandon(self, waiting: Await, *, drop: bool = True) -> None:
        """This await was canceled. `drop`: by the author's own code, so steps that nobody else waits for are stopped (S32)."""
        self._awaits.pop(waiting, None)
        self._sending = [each for each in self._sending if each is not waiting]
        waiting.stop(Canceled)
        if drop and self._closed is None:
            self._drop(waiting.of or waiting)

    def stop(self, error: Callable[[], BaseException], *, for_good: bool = True) -> None:
        """Raise this wherever the code waits for steps; `for_good`: and wherever it asks for one from now on, and nothing more is sent."""
        if for_good:
            self._closed = error
        waiting, self._awaits, self._sending = [*self._awaits, *self._sending], {}, []
        for each in waiting:
            each.stop(error)

    def end(self, *, failed: bool = False) -> list[Frame]:
        """The code has ended: what is still to be sent. What it has not asked for again is marked, and named in the log (S4).

        Args:
            failed: it has raised, so it has not asked for all of its steps; then nothing is marked, and nothing raised.

        Raises:
            StepNotAwaited: a step was never begun.
        """
        if failed or self.closing is not None:
            return self._outbox.rest()
        # One that was closed was given to somebody who has canceled it before it began.
        not_started = [what for call, what in self.not_started.items() if getattr(call, "cr_frame", None) is not None]
        for call in self.not_started:
            call.close()
        if not_started:
            names = ", ".join(dict.fromkeys(not_started))
            raise StepNotAwaited(f"{names}: called, and never awaited. Write `await`, or do not call it.")
        unused = [key for key in self._identities.unused() if key not in self._history.dropped]
        marks = [Step(Want("local", key, "", "", ""), state="asked") for key in unused]
        for mark in marks:
            self._outbox.journal(f"u:{mark.want.group}", b"1", kept=mark)
        self.closing = Await(marks) if marks else None
        return self._outbox.rest()

    @property
    def waiting(self) -> bool:
        """Whether code waits for steps."""
        return bool(self._awaits)

    # -- the rest ---------------------------------------------------------------------------------------------------------

    def _mark(self, want: Want) -> str:
        return str(Mark(self.start.code, want.place, want.digest))

    def _decide(self, *, sure: bool) -> None:
        if not self._undecided:
            return
        asked, self._undecided = self._undecided, []
        for step, found in zip(asked, self._identities.decide([step.want for step in asked], sure=sure), strict=True):
            if found is None:
                self._undecided.append(step)
            else:
                self._decided(step, found)

    def _decided(self, step: Step, found: Found) -> None:
        step.key, step.mark = found.key, self._mark(step.want)
        self._steps[step.key] = step
        if found.changed:
            self.warn(changed_input(step.want, named=bool(step.want.name)))
        if found.entry is None:
            self.silent = False
        elif step.key in self._history.dropped and found.entry.mark.code == self.start.code:
            step.state = "dropped"  # the author's own timer fires again
            self._arrived.passed(step.key)
            return
        self._outbox.ask(step, known=found.entry is not None)

    def _take(self, result: Sequence[Any]) -> None:
        key, state, data, usage, job_id, _ = result
        step = self._steps.get(key)
        if step is None or step.state not in ("asked", "pending"):
            return  # told twice, or not waited for any more
        if state == "pending":
            self.silent = False
            step.state = "pending"
            return
        step.state = "ended"
        step.outcome = Outcome(state, data or b"null", orjson.loads(usage) if usage else {}, job_id or None)
        self._arrived.add(step)

    def _deliver(self, *, sure: bool) -> None:
        while not self.woke and (step := self._arrived.take(sure=sure)) is not None:
            for name, value in step.outcome.usage.items() if step.outcome else ():
                self._spent[name] = self._spent.get(name, 0.0) + value
            self._give(step)

    def _give(self, step: Step) -> None:
        """Let the code have the outcome of a step."""
        step.state = "given"
        self._arrived.passed(step.key)
        if not step.want.name:
            self._steps.pop(step.key, None)  # nobody else can ask for it, and its outcome may be large
        if step.key == self._last or self._identities.all_used:
            self.silent = False
        for waiting in list(step.awaits):
            waiting.given(step)
            if waiting.first:
                self._settle_first(waiting)
            if not waiting.done and waiting.look():
                self._awaits.pop(waiting, None)
                self.woke = True
        step.awaits.clear()

    def _settle_first(self, waiting: Await) -> None:
        """Of a race: the winner is who the journal names; if it names none, who has come now, and the others are stopped."""
        key = f"first:{sha256(' '.join(step.key for step in waiting.steps).encode()).hexdigest()[:12]}"
        entry = self._history.entries.get(key)
        if entry is not None:
            named = orjson.loads(entry.rest)
            waiting.winner = next((step for step in waiting.steps if step.key == named and step.state == "given"), None)
        elif waiting.winner is not None and not waiting.done:
            mark = Mark(self.start.code, waiting.winner.want.place, "")
            text = f"d {mark} ".encode() + orjson.dumps(waiting.winner.key)
            self._outbox.journal(key, text, stop=self._drop(waiting, say=False))

    def _drop(self, waiting: Await, *, say: bool = True) -> Sequence[str]:
        """Give up the steps of an await that no other waits for; the keys of those that were asked for."""
        keys = []
        for step in waiting.steps:
            if waiting in step.awaits:
                step.awaits.remove(waiting)
            if step.is_open and not step.awaits and step.state != "running":
                if step.state in ("asked", "pending", "ended"):
                    keys.append(step.key)
                step.state = "dropped"
                self._arrived.passed(step.key)
        self._undecided = [step for step in self._undecided if step.state != "dropped"]
        if say and keys:
            self._outbox.drop(keys)
        return keys

    def _need(self) -> int:
        least = 0
        for waiting in self._awaits:
            least = min(least or waiting.needs, waiting.needs)
            if least == 1:
                break
        return least
