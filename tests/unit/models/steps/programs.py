"""Random programs of steps, run by `Flow` against a store in memory, killed and run again: what is paid, and who gets whose result.

A program has branches, each a list of parts: a call, or a set of calls in an order that differs at each run. The input of a call is fixed,
or holds a clock. The store answers as the real one does; the run's tasks are played: a branch asks, and goes on when its await is over.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from longrun.models.steps.awaits import Await, Step, Want
from longrun.models.steps.branch import Branch
from longrun.models.steps.flow import Flow
from longrun.models.steps.inputs import content_digest
from longrun.models.steps.journal import History
from longrun.models.steps.start import Start


@dataclass(frozen=True)
class Line:
    """One call of a program: what it is, and whether its input is another one at each run."""

    truth: str
    model: str
    fixed: bool
    name: str = ""


Program = list[list[list[Line]]]  #: branches, parts, lines: those of one part come in any order


@dataclass
class Store:
    """What the store keeps of the parent: the journal, ends, and what each step was made for."""

    fields: dict[str, bytes] = field(default_factory=dict)
    ends: list[str] = field(default_factory=list)
    truths: dict[str, str] = field(default_factory=dict)
    clock: int = 0
    told: int = 0  #: ends that the parent knows of

    def ask(self, calls: list[list[object]], truth_of: Callable[[str], str]) -> list[list[object]]:
        """Found or made; children end when they are asked for the next time, or by `end_one`."""
        rows: list[list[object]] = []
        for key, mark, *_ in calls:
            assert isinstance(key, str)
            if key not in self.fields:
                self.clock += 1
                self.fields[key] = f"c job_{len(self.fields)} 0 {self.clock} {mark}".encode()
                self.truths[key] = truth_of(key)
            rows.append(self.row(key))
        return rows

    def row(self, key: str) -> list[object]:
        """What is known of a step."""
        ended = key in self.ends
        return [key, "succeeded" if ended else "pending", orjson.dumps(self.truths[key]) if ended else b"", b"", "job", 0]

    def end_one(self, rng: random.Random) -> bool:
        """A child ends; whether there was one."""
        waiting = [key for key in self.fields if key not in self.ends]
        self.ends += [rng.choice(waiting)] if waiting else []
        return bool(waiting)


@dataclass
class Played:
    """What one attempt has come to."""

    paid: int = 0
    swapped: int = 0
    done: bool = False
    stuck: bool = False
    warnings: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    got: list[str] = field(default_factory=list)  #: in the order in which the code went on


def play(program: Program, store: Store, rng: random.Random, *, cut: int | None = None, code: str = "c0") -> Played:
    """One attempt, of so many moves (None: to its end)."""
    played, store.told = Played(), len(store.ends)
    flow = Flow(Start("job_p", code=code), History.of(store.fields, store.ends), warn=played.warnings.append, now=lambda: 0.0)
    branches = [flow.main.child("branch") for _ in program]
    lines = [[line for part in parts for line in rng.sample(part, len(part))] for parts in program]
    at = [0] * len(program)
    awaits: dict[int, Await] = {}
    moves = 0
    sent: list[tuple[object, ...]] = []
    while True:
        moves += 1
        if cut is not None and moves > cut:
            if rng.random() < 0.5:  # what was sent has come to the store, and no answer to the runner
                _answer(None, store, sent, played)
            return played
        for number, waiting in list(awaits.items()):
            if waiting.done:
                _go_on(waiting.steps[0], lines[number][at[number]], played)
                del awaits[number]
                at[number] += 1
        if rng.random() < 0.1:
            store.end_one(rng)
        ready = [number for number in range(len(program)) if at[number] < len(lines[number]) and number not in awaits]
        if ready and rng.random() < 0.7:
            number = rng.choice(ready)
            awaits[number] = flow.begin([_step(lines[number][at[number]], branches[number], rng)])
        elif sent:
            _answer(flow, store, sent, played)
        elif awaits:
            # Other branches compute: then the loop is not idle, and nothing that may still be theirs is decided.
            sent = list(flow.turn(idle=not ready))
            if not sent and not flow.woke and not ready and not _wake(flow, store, rng):
                played.stuck = True
                return played
        elif not ready:
            played.unused = [entry[0].removeprefix("u:") for frame in flow.end() for entry in frame[2]]
            played.done = True
            return played


def _step(line: Line, branch: Branch, rng: random.Random) -> Step:
    content = line.truth.partition("#")[0] if line.fixed else f"{line.truth} {rng.random()}"
    want = Want("run", line.model, line.name, content_digest(line.model, content), branch.place(line.model))
    return Step(want, ("run", line.model, line.truth.encode(), [], {}))


def _answer(flow: Flow | None, store: Store, sent: list[tuple[object, ...]], played: Played) -> None:
    for kind, n, *rest in sent:
        if kind == "ask":
            calls = rest[3]
            assert isinstance(calls, list)
            truths = {call[0]: call[4].decode() for call in calls}
            before = len(store.fields)
            rows = store.ask(calls, truths.__getitem__)
            played.paid += len(store.fields) - before
            seen, need = rest[0], rest[1]
            assert isinstance(seen, int) and isinstance(need, int) and isinstance(n, int)
            waits, told = False, store.told if seen < 0 else seen
            if need and all(row[1] == "pending" for row in rows):
                waits = len(store.ends) < told + need
                if not waits:  # something else has ended since
                    rows += [store.row(key) for key in store.ends[told:]]
                    told = len(store.ends)
            store.told = told
            if flow is not None:
                flow.feed("answer", n, told, waits, 0, rows)
    sent.clear()


def _wake(flow: Flow, store: Store, rng: random.Random) -> bool:
    """Time passes until a child ends, and the parent is waked."""
    if len(store.ends) == store.told and not store.end_one(rng):
        return False
    rows, store.told = [store.row(key) for key in store.ends[store.told :]], len(store.ends)
    flow.feed("answer", 0, store.told, False, 0, rows)
    return True


def _go_on(step: Step, line: Line, played: Played) -> None:
    assert step.outcome is not None
    got = orjson.loads(step.outcome.data)
    played.swapped += got.partition("#")[0] != line.truth.partition("#")[0]
    played.got.append(line.truth)


def size(program: Program) -> int:
    """Calls of a program."""
    return sum(len(part) for parts in program for part in parts)
