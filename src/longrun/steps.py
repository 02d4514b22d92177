"""Stopping in steps: each is taken, whatever becomes of those before it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

#: What is done, in words for the log, and how. In an `async` sequence it may give something to await.
Step = tuple[str, Callable[[], Any]]
#: Gets the words of a step that failed, and why.
Report = Callable[[str, BaseException], None]


def log_failure(step: str, error: BaseException) -> None:
    """One line in the log, with the traceback."""
    from longrun.log import Log  # the command line starts without it

    Log("longrun").error("a step of stopping failed, the others are taken", step=step, exc_info=error)


class Failures:
    """Reports what goes wrong. An interruption (Ctrl-C, a canceled task) has its effect when all steps are taken.

    Args:
        report: must not block.
    """

    def __init__(self, report: Report = log_failure) -> None:
        self._report = report
        self._interruption: BaseException | None = None

    def add(self, step: str, error: BaseException) -> None:
        """A step has failed, or was interrupted."""
        if not isinstance(error, Exception):
            self._interruption = self._interruption or error
            return
        with suppress(Exception):  # then nobody hears of it
            self._report(step, error)

    def end(self) -> None:
        """All steps are taken. Raises the first interruption."""
        if self._interruption is not None:
            raise self._interruption


def take_steps(steps: Iterable[Step], report: Report = log_failure) -> None:
    """Take one step after the other. Raises only what interrupts, such as KeyboardInterrupt, after the last."""
    failures = Failures(report)
    for step, act in steps:
        try:
            act()
        except BaseException as error:
            failures.add(step, error)
    failures.end()


async def await_steps(steps: Iterable[Step], report: Report = log_failure) -> None:
    """As `take_steps`, and awaits what a step gives. Raises only what interrupts, such as CancelledError, after the last."""
    failures = Failures(report)
    for step, act in steps:
        try:
            given = act()
            if inspect.isawaitable(given):
                await given
        except BaseException as error:
            failures.add(step, error)
    failures.end()
