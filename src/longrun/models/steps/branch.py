"""Where in a parent's code a step is asked for: the branch it stands on, and its number there.

Sync code is one branch. In async code each task is one: the path of the task that made it, the name of its coroutine, and how many of
that name there were before. Such a path is the same at each run, whatever the timing. A task factory makes them (`worker.runner.branches`).
A task carries its branch itself, for a context may be that of several tasks; what runs in callbacks and threads has only the context, and
counts as the branch that this was taken from.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable
from hashlib import sha256
from typing import Any
from weakref import ref

#: Longer paths are hashed: a journal holds one in each entry.
_LONGEST = 40
#: Tasks of a run from which on those that have ended are looked for.
_MANY = 32


class Branch:
    """One task of a run, or all of it. It is made for each task of every job, and knows no more than it must.

    Attributes:
        main: that of `predict`, which tells runs apart.
    """

    __slots__ = ("_calls", "_children", "_from", "_random", "_tasks", "_watch", "main")

    def __init__(self, made_by: Branch | None = None, name: str = "", number: int = 0) -> None:
        self.main: Branch = self if made_by is None else made_by.main
        self._from = made_by, name, number
        self._children: dict[str, int] | None = None
        self._calls: dict[str, int] | None = None
        self._random: random.Random | None = None
        self._tasks: list[ref[asyncio.Task[Any]]] | None = None
        self._watch: Callable[[asyncio.Task[Any]], None] | None = None

    def child(self, name: str) -> Branch:
        """The next task with a coroutine of this name."""
        numbers = self._children
        if numbers is None:
            numbers = self._children = {}
        number = numbers[name] = numbers.get(name, -1) + 1
        return Branch(self, name, number)

    @property
    def path(self) -> str:
        """How one comes here from `predict`, which is empty; no spaces and no `~` in it."""
        made_by, name, number = self._from
        if made_by is None:
            return ""
        path = f"{made_by.path}/{name}.{number}".replace(" ", "_").replace("~", "_")
        return path if len(path) <= _LONGEST else sha256(path.encode()).hexdigest()[:12]

    def place(self, what: str) -> str:
        """The place of the next call of this kind."""
        calls = self._calls
        if calls is None:
            calls = self._calls = {}
        number = calls[what] = calls.get(what, -1) + 1
        return f"{self.path}:{what}.{number}"

    def random(self, seed: str) -> random.Random:
        """Its source of random numbers, the same numbers at each run."""
        if self._random is None:
            self._random = random.Random(f"{seed} {self.path}")
        return self._random

    def add(self, task: asyncio.Task[Any]) -> None:
        """It is one of the run's."""
        main = self.main
        if main._watch is not None:
            return main._watch(task)
        tasks = main._tasks
        if tasks is None:
            tasks = main._tasks = []
        elif len(tasks) >= _MANY and not len(tasks) & len(tasks) - 1:  # at each power of two
            tasks[:] = [each for each in tasks if (it := each()) is not None and not it.done()]
        tasks.append(ref(task))
        return None

    def watch(self, call: Callable[[asyncio.Task[Any]], None]) -> None:
        """Call this with each task of the run that has not ended, but its main one: with those that there are, and with all that come."""
        main = self.main
        tasks, main._tasks, main._watch = main._tasks or (), None, call
        for each in tasks:
            task = each()
            if task is not None and not task.done():
                call(task)


_here: contextvars.ContextVar[Branch | None] = contextvars.ContextVar("longrun_branch", default=None)


def set_branch(branch: Branch) -> None:
    """The code that runs in this context, and what it starts, stands on `branch`. To be called in the context of each async run."""
    _here.set(branch)


def here() -> Branch | None:
    """The branch of the running code; None: it belongs to no run."""
    try:
        branch: Branch | None = getattr(asyncio.current_task(), "longrun_branch", None)
    except RuntimeError:  # no loop runs on this thread
        branch = None
    return branch or _here.get()


def branch_here(main: Branch) -> Branch:
    """The branch of the running code: one of the run whose main branch this is, or that."""
    branch = here()
    return branch if branch is not None and branch.main is main else main


def branch_of(task: Any) -> Branch | None:
    """The branch of a task, or the one that its context was taken from."""
    branch: Branch | None = getattr(task, "longrun_branch", None)
    if branch is None and hasattr(task, "get_context"):  # before 3.12 a task does not say in which context it runs
        branch = task.get_context().get(_here)
    return branch
