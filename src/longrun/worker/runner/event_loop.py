"""The event loop that the jobs of async models share: no job ends it, and none sees the tasks of another."""

from __future__ import annotations

import asyncio
import os
import selectors
from collections import deque
from typing import Any, NoReturn

from longrun.errors import LongrunError
from longrun.models.steps.branch import branch_of, here
from longrun.worker.runner.branches import Factory
from longrun.worker.runner.children import end_forked, forked
from longrun.worker.runner.own_log import log
from longrun.worker.runner.raised import Raised, when_described

_STRANDED = "this process was forked by an async job, and cannot wait on the event loop of the process that it comes from"
#: Before 3.12 a task does not say in which context it runs.
_KNOWS_CONTEXT = hasattr(asyncio.Task, "get_context")


async def _goes_on(*_: Any, **__: Any) -> None:
    """What the jobs share is not shut down by one of them."""


def prepare(shared: asyncio.AbstractEventLoop, *, branches: bool = True) -> None:
    """Have `asyncio.all_tasks` return those of the call that asks, and no others: programs wait for all of them, or cancel them.

    In a forked child the loop, whose jobs are not the child's, turns no further: it shares its selector with the parent.

    Args:
        branches: tasks know in which branch of their call they are.
    """
    every = asyncio.all_tasks

    def all_tasks(loop: asyncio.AbstractEventLoop | None = None) -> set[asyncio.Task[Any]]:
        which = loop or asyncio.get_running_loop()
        tasks = every(which)
        if which is not shared:
            return tasks
        branch = here()
        main = None if branch is None else branch.main
        return {task for task in tasks if (other := branch_of(task)) is branch or (other is not None and other.main is main)}

    all_tasks.__doc__ = every.__doc__
    asyncio.all_tasks = asyncio.tasks.all_tasks = all_tasks
    shared.shutdown_asyncgens = shared.shutdown_default_executor = _goes_on  # type: ignore[method-assign]
    if branches or not _KNOWS_CONTEXT:
        Factory(shared, branches=branches)
    os.register_at_fork(after_in_child=lambda: _strand(shared))


def _strand(loop: Any) -> None:
    """In a forked child: what runs now is the last that runs."""
    if isinstance(loop, asyncio.SelectorEventLoop):
        loop._ready, loop._scheduled = deque(maxlen=0), []  # type: ignore[attr-defined]
        loop._selector = selectors.DefaultSelector()  # type: ignore[attr-defined]
    loop.stop()


def turn(loop: asyncio.AbstractEventLoop) -> NoReturn:
    """Run the loop for ever. An exit that is raised in a task or callback passes through the loop, and costs only who waits for it."""
    while True:
        try:
            loop.run_forever()
            why: BaseException | None = None
        except BaseException as error:
            why = error
        is_exit = isinstance(why, SystemExit | KeyboardInterrupt)
        if forked():
            end_forked(why if is_exit else LongrunError(_STRANDED))
        if why is not None and not is_exit:
            raise why
        if why is None:
            log.warning("the model's code has stopped the event loop, which goes on")
        else:
            # Its text is asked elsewhere: it may take a moment to say it, in which others go on.
            when_described(why, _log_exit)


def _log_exit(raised: Raised) -> None:
    log.warning("the model's code has stopped the event loop, which goes on", exception=raised.text)
