"""The tasks of the runner's event loop know on which branch of which call they are: see `models.steps.branch`."""

from __future__ import annotations

from asyncio import AbstractEventLoop, Task
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any

from longrun.models.steps.branch import Branch, here, set_branch


def begin(loop: AbstractEventLoop, code: Any, context: Context) -> Task[Any]:
    """The task of a new call. Not by the loop's own method: a factory that an author sets is for the author's tasks."""
    branch = Branch()
    context.run(set_branch, branch)
    task: Any = Task(code, loop=loop, context=context)
    task.longrun_branch = branch
    return task  # type: ignore[no-any-return]


class Factory:
    """Makes the tasks of a loop. One that an author sets makes them still, in here.

    Args:
        branches: whether each is a branch of its own; else all that is known of them is their call.
    """

    def __init__(self, loop: AbstractEventLoop, *, branches: bool) -> None:
        self._branches = branches
        self._authors: Callable[..., Any] | None = loop.get_task_factory()
        loop.set_task_factory(self)
        loop.set_task_factory, loop.get_task_factory = self._use, self._used  # type: ignore[method-assign]

    def _use(self, factory: Callable[..., Any] | None) -> None:
        if factory is not None and not callable(factory):
            raise TypeError("task factory must be a callable or None")
        self._authors = factory

    def _used(self) -> Callable[..., Any] | None:
        return self._authors

    def __call__(self, loop: AbstractEventLoop, code: Any, **named: Any) -> Any:
        at = here()
        if at is None:
            return Task(code, loop=loop, **named) if self._authors is None else self._authors(loop, code, **named)
        branch = at.child(getattr(code, "__qualname__", "?")) if self._branches else at
        if self._authors is None:
            return self._marked(Task(code, loop=loop, **named), branch)
        if named.get("context") is not None:
            task = self._authors(loop, code, **named)
        else:
            # It may have the code begin before we can mark the task. Not by an argument: not all of them take a context.
            context = copy_context()
            context.run(set_branch, branch)
            task = context.run(self._authors, loop, code, **named)
        with suppress(AttributeError, TypeError):  # it may be no task
            self._marked(task, branch)
        return task

    def _marked(self, task: Any, branch: Branch) -> Any:
        task.longrun_branch = branch
        if self._branches:
            branch.add(task)
        return task
