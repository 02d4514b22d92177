"""Where in a parent's code a step is asked for: the branch it stands on, and its number there.

Sync code is one branch. In async code each task is one: the path of the task that made it, the name of its coroutine, and how many of
that name there were before. Such a path is the same at each run, whatever the timing. A task factory makes them (`branched`).
"""

from __future__ import annotations

import contextvars
import random
from collections import Counter
from hashlib import sha256

#: Longer paths are hashed: a journal holds one in each entry.
_LONGEST = 40


class Branch:
    """One task of a run, or all of it.

    Args:
        path: empty = the code of `predict` itself.
        main: that of `predict`, which tells runs apart; None = it is that.
    """

    def __init__(self, path: str = "", main: Branch | None = None) -> None:
        self.path = path
        self.main: Branch = main or self
        self._tasks: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()
        self._random: random.Random | None = None

    def child(self, name: str) -> Branch:
        """The next task with a coroutine of this name."""
        self._tasks[name] += 1
        return Branch(f"{self.path}/{name}.{self._tasks[name] - 1}", self.main)

    def place(self, what: str) -> str:
        """The place of the next call of this kind; no spaces and no `~` in it."""
        self._calls[what] += 1
        path = self.path.replace(" ", "_").replace("~", "_")
        short = path if len(path) <= _LONGEST else sha256(path.encode()).hexdigest()[:12]
        return f"{short}:{what}.{self._calls[what] - 1}"

    def random(self, seed: str) -> random.Random:
        """Its source of random numbers, the same numbers at each run."""
        if self._random is None:
            self._random = random.Random(f"{seed} {self.path}")
        return self._random


_here: contextvars.ContextVar[Branch | None] = contextvars.ContextVar("longrun_branch", default=None)


def set_branch(branch: Branch) -> None:
    """The code that runs in this context, and what it starts, stands on `branch`. To be called in the context of each async run."""
    _here.set(branch)


def branch_here(main: Branch) -> Branch:
    """The branch of the running code: one of the run whose main branch this is, or that."""
    here = _here.get()
    return here if here is not None and here.main is main else main


def branched(code: object, context: contextvars.Context | None) -> contextvars.Context | None:
    """For a task factory: the context for the task of a coroutine that is being made now. None: it belongs to no run, leave it as it is.

    A context that the author gave (`create_task(…, context=)`) is used, and says which branch the task comes from.
    """
    context = contextvars.copy_context() if context is None else context
    parent = context.get(_here)
    if parent is None:
        return None
    context.run(_here.set, parent.child(str(getattr(code, "__qualname__", "?"))))
    return context
