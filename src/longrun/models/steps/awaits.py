"""What a parent's code waits for: steps, their outcomes, and the rule by which waiting for several of them is over. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from longrun.errors import StepFailed, StepRefused
from longrun.models.spec import ModelSpec

Kind = Literal["run", "sleep", "wait", "local"]
_NOT_MADE = "refused"


@dataclass(frozen=True, slots=True)
class Want:
    """A step as the code asks for it.

    Args:
        kind: a child, a sleep, a wait for a signal, or a function that is called here.
        group: what its equals have in common: the model's name, or the kind.
        name: given by the author; empty = none.
        digest: of model and input, 12 hex digits; empty: it cannot be compared.
        place: see `branch`.
    """

    kind: Kind
    group: str
    name: str
    digest: str
    place: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a step ended.

    Args:
        state: `succeeded`, `failed`, `canceled`, `expired`, or `refused`: it was not made.
        data: JSON of the output or of the failure; `@…` refers to a file.
        usage: what it used, with all below it.
        job_id: of a child.
    """

    state: str
    data: bytes = b"null"
    usage: Mapping[str, float] = field(default_factory=dict)
    job_id: str | None = None

    def error(self, step: str) -> StepFailed | None:
        """What awaiting it raises, made anew for each who awaits it; None: it succeeded."""
        if self.state == "succeeded":
            return None
        found = orjson.loads(self.data) if self.data else {}
        members = found if isinstance(found, dict) else {}
        kind = StepRefused if self.state == _NOT_MADE else StepFailed
        code = str(members.get("code") or (self.state if self.state != "failed" else "model-error"))
        return kind(code, str(members.get("detail") or ""), cause=members.get("cause"), step=step, job_id=self.job_id)


@dataclass(eq=False, slots=True)
class Step:
    """A step of this run.

    Attributes:
        spec: of the model, if it is a child.
        call: the rest of its entry in an `ask` frame, from the kind on; empty of a local step, and of a child when it is sent.
        key: in the journal; empty: not yet known (its place is judged when the other branches have come to rest).
        state: `undecided`, then `to ask` (not sent), `asked` (not answered), `pending`, `ended` (its outcome is known, the code has not got
            it), `given`; or `dropped`: nobody waits for it any more, or its await stays pending as it did before (S32).
    """

    want: Want
    call: tuple[Any, ...] = ()
    key: str = ""
    mark: str = ""
    state: str = "undecided"
    outcome: Outcome | None = None
    spec: ModelSpec | None = None
    awaits: list[Await] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Whether the code may still get an outcome."""
        return self.state not in ("given", "dropped")


class Await:
    """Some steps, and when waiting for them is over.

    Args:
        steps: in the order of the author's arguments.
        fail_fast: also when one has failed.
        first: it is over when one has succeeded, or all have failed; `winner` is that one.
        of: the one whose steps are given up with this one.

    Attributes:
        spare: it is over when no more than so many of them are left.
        done: it is over, whichever way; `failed`: one of its steps has.
        on_done: called once when that happens; set by the port.
    """

    def __init__(self, steps: list[Step], *, fail_fast: bool = False, first: bool = False, of: Await | None = None) -> None:
        self.steps: list[Step] = []
        self.fail_fast, self.first, self.of = fail_fast, first, of
        self.spare = 0
        self.winner: Step | None = None
        self.done = False
        self.on_done: Callable[[], None] | None = None
        self._error: Callable[[], BaseException] | None = None
        self.left = 0  # counted, not looked for: there may be ten thousand
        self.failed = False
        for step in steps:
            self.add(step)

    def add(self, step: Step) -> None:
        """Wait for one more, or for one of its steps once more: two calls of one name are one step, which ends once."""
        self.steps.append(step)
        if self in step.awaits:
            return
        step.awaits.append(self)
        if step.state == "given":
            self._count(step)
        else:
            self.left += 1

    @property
    def needs(self) -> int:
        """How many steps must end before it can be over: at least 1."""
        return 1 if self.first or self.fail_fast else max(1, self.left - self.spare)

    def given(self, step: Step) -> None:
        """The code may have the outcome of this one."""
        self.left -= 1
        self._count(step)

    def _count(self, step: Step) -> None:
        succeeded = step.outcome is not None and step.outcome.state == "succeeded"
        self.failed = self.failed or not succeeded
        if succeeded and self.winner is None:
            self.winner = step

    def look(self) -> bool:
        """Whether it is over; if so, `on_done` has been called."""
        over = self.left <= self.spare or (self.fail_fast and self.failed) or (self.first and self.winner is not None)
        if over and not self.done:
            self._end()
        return self.done

    def again(self, spare: int) -> bool:
        """Wait once more, for those that have come since; whether that is over at once."""
        self.spare, self.done, self.on_done = spare, False, None
        return self.look()

    def stop(self, error: Callable[[], BaseException]) -> None:
        """The code is to stop where it waits."""
        if not self.done:
            self._error = error
            self._end()

    def check(self) -> None:
        """Raise what stops the code, if it was stopped here."""
        if self._error is not None:
            raise self._error()

    def _end(self) -> None:
        self.done = True
        if self.on_done is not None:
            self.on_done()
