"""Programs of parents, as generators: each yields what it wants of its steps and gets what became of them. They are run again from the
start whenever their job is, so nothing in them may depend on chance or time."""

from __future__ import annotations

import random
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Literal

Need = Literal["all", "any"]
#: What a leaf, or a flow, is given: JSON.
Spec = dict[str, Any]


class StepFailed(Exception):
    """A step has ended otherwise than with success."""


class Again(Exception):
    """The parent wants to be run again, as by `Retry`."""


@dataclass(frozen=True)
class Job:
    """A child of the model `leaf` or `flow`."""

    key: str
    model: str
    spec: Spec


@dataclass(frozen=True)
class Nap:
    """A sleep of so many ms."""

    key: str
    ms: int


@dataclass(frozen=True)
class Question:
    """A wait for the signal of this name."""

    name: str
    ms: int

    @property
    def key(self) -> str:
        return f"s:{self.name}"


Call = Job | Nap | Question


@dataclass
class Ask:
    """Steps; what comes back is {key: value}, of those that have ended. `catch`: a failure is a value too (None), and raises nothing."""

    calls: list[Call]
    need: Need = "all"
    catch: bool = False


@dataclass
class Local:
    """A call in the parent itself, which is journaled. `once`: begun-mark first; StepFailed if an attempt before died in it."""

    key: str
    once: bool = False


@dataclass
class Race:
    """The first of these; the others are stopped by the script that journals which it was."""

    key: str
    calls: list[Job] = field(default_factory=list)


@dataclass
class Drop:
    """Nobody waits for these any more."""

    keys: list[str]


Wanted = Ask | Local | Race | Drop
Program = Generator[Wanted, Any, Any]


def leaf(key: str, x: int = 1, *, fail: str = "") -> Job:
    """One that gives x + 1. `fail`: `always`, `first` (the first attempt of its first epoch) or `unknown`."""
    return Job(key, "leaf", {"x": x, "fail": fail})


def chain(spec: Spec, attempt: int) -> Program:
    x = 0
    for n in range(spec["n"]):
        x = (yield Ask([leaf(f"s{n}", x)]))[f"s{n}"]
    return x


def fan(spec: Spec, attempt: int) -> Program:
    out = yield Ask([leaf(f"f{n}", n) for n in range(spec["n"])])
    paid = yield Local("l:pay")
    judged = yield Ask([leaf("judge", sum(out.values()))])
    return [judged["judge"], paid]


def nest(spec: Spec, attempt: int) -> Program:
    out = yield Ask([Job(f"n{n}", "flow", below) for n, below in enumerate(spec["sub"])], catch=True)
    return len(out)


def race(spec: Spec, attempt: int) -> Program:
    winner = yield Race("first:r", [leaf(f"a{n}") for n in range(3)])
    after = yield Ask([leaf(f"after-{winner}")])
    return after


def human(spec: Spec, attempt: int) -> Program:
    yield Ask([leaf("draft")])
    answer = yield Ask([Question("approve", spec["ms"])], catch=True)
    done = yield Ask([leaf("yes" if answer["s:approve"] is not None else "no")])
    return done


def sleepy(spec: Spec, attempt: int) -> Program:
    out = yield Ask([Nap("z:1", spec["ms"]), leaf("beside")], need="any")
    out = yield Ask([Nap("z:1", spec["ms"]), leaf("beside")])
    return len(out)


def fallback(spec: Spec, attempt: int) -> Program:
    try:
        return (yield Ask([leaf("risky", fail="always")]))["risky"]
    except StepFailed:
        return (yield Ask([leaf("cheap", 9)]))["cheap"]


def once(spec: Spec, attempt: int) -> Program:
    try:
        paid = yield Local("l:once", once=True)
    except StepFailed:
        paid = "unknown"
    yield Ask([leaf("then")])
    return paid


def again(spec: Spec, attempt: int) -> Program:
    out = yield Ask([leaf("kept"), leaf("redone", fail="first"), Job("below", "flow", spec["sub"][0])], catch=True)
    if out["redone"] is None:
        raise Again
    return out["redone"]


def dropper(spec: Spec, attempt: int) -> Program:
    out = yield Ask([leaf("d0"), leaf("d1"), leaf("d2")], need="any", catch=True)
    yield Drop(sorted({"d0", "d1", "d2"} - out.keys()))
    return (yield Ask([leaf("end")]))["end"]


def failing(spec: Spec, attempt: int) -> Program:
    yield Ask([leaf("good"), Job("deep", "flow", spec["sub"][0])], catch=True)
    calls: list[Call] = [leaf("bad", fail="first"), leaf("open"), Job("open-too", "flow", {"p": "fan", "n": 4, "ms": 0, "sub": []})]
    # It fails while others are open; a retry waits for them all.
    yield Ask(calls, need="any")
    return len((yield Ask(calls)))


PROGRAMS = {each.__name__: each for each in (chain, fan, nest, race, human, sleepy, fallback, once, again, dropper, failing)}


def program(spec: Spec, attempt: int) -> Program:
    """That of a flow with this input."""
    return PROGRAMS[spec["p"]](spec, attempt)


def random_spec(rng: random.Random, depth: int = 0) -> Spec:
    """The input of a flow, with flows below it, at most two deep."""
    simple = ["chain", "fan", "race", "human", "sleepy", "fallback", "once", "once", "dropper"]
    kind = rng.choice(simple + (["nest"] * 3 + ["again"] * 2 + ["failing"] * 3 if depth < 2 else []))
    sizes = {"chain": 5, "fan": rng.choice([1, 4, 20])}
    below = [random_spec(rng, depth + 1) for _ in range(rng.choice([1, 2, 3]))] if kind in ("nest", "again", "failing") else []
    return {"p": kind, "n": sizes.get(kind, 0), "ms": rng.choice([1, 20, 100_000] if kind == "human" else [1, 5, 30]), "sub": below}
