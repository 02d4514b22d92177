"""Whether an async call stands still until one of its steps ends, told by what its tasks wait for. It changes nothing.

A task that waits for a task of the same call, for several of them, at a lock or a queue goes on when another task of the call does.
One that waits for a socket or a thread works. Of a future that nobody here knows (a library's, say) it can only be said that nothing has
moved for long.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from math import inf
from types import AsyncGeneratorType, CodeType, CoroutineType, FrameType
from typing import Any

#: Seconds for which a call must not have moved until it counts as standing still: it waits for its steps · also for a timer · for something
#: that nobody here knows · it works, or waits for what works · it is about to go on.
STANDS, TIMER, UNKNOWN, WORKS, RUNS = 0.0, 0.1, 1.0, 1e9, inf
#: Objects of Python's own that lie between what awaits and what is awaited, and do not say so.
_BETWEEN = ("async_generator_asend", "async_generator_athrow", "anext_awaitable", "coroutine_wrapper")
_CODE: Any = CoroutineType | AsyncGeneratorType
_LOCKS = ("asyncio.locks", "asyncio.queues")
_STRUCTURE = (*_LOCKS, "asyncio.tasks", "asyncio.timeouts", "asyncio.taskgroups")
#: What waits in anyio for tasks, and not for the world.
_ANYIO, _ANYIO_STRUCTURE = "anyio._backends._asyncio", ("TaskGroup.", "Event.", "Lock.", "Semaphore.", "CapacityLimiter.")


class Look:
    """Tells what tasks of one call wait for.

    Args:
        belongs: whether a task is one of the call; such are told of by themselves.
        is_step: whether a future is that of a step.
        driver: a generator of ours that runs the awaitable in its variable `code` by hand.
    """

    def __init__(self, belongs: Callable[[Any], bool], is_step: Callable[[Any], bool], driver: CodeType | None = None) -> None:
        self._belongs, self._is_step, self._driver = belongs, is_step, driver
        self._seen: set[int] = set()

    def patience(self, task: Any) -> float:
        """Seconds for which this one must not have moved until it counts as standing still."""
        self._seen.clear()
        return self.task(task)

    def task(self, task: Any) -> float:
        """What a task waits for."""
        waits_for = getattr(task, "_fut_waiter", None)
        return RUNS if waits_for is None else self.future(waits_for, task)

    def future(self, future: Any, task: Any) -> float:
        """What a future, for which `task` waits (None = it is not known how), needs to be done."""
        if future.done():
            return RUNS  # who waits for it is about to go on
        if self._is_step(future) or id(future) in self._seen:
            return STANDS
        if isinstance(future, asyncio.Task):
            if self._belongs(future):
                return STANDS
            self._seen.add(id(future))
            # Of another call, or the model's own: when it stands, who moves it is not known.
            return max(self.task(future), UNKNOWN)
        self._seen.add(id(future))
        parts = getattr(future, "_children", None)
        if parts is not None and type(future).__name__ == "_GatheringFuture":
            return max((self.future(each, None) for each in parts if not each.done()), default=RUNS)
        for callback in _callbacks(future):
            name = getattr(callback, "__qualname__", "")
            if name == "_chain_future.<locals>._call_check_cancel":
                return WORKS  # a thread
            if name == "shield.<locals>._outer_done_callback":
                return self.future(_closure(callback)["inner"], None)
        return UNKNOWN if task is None else self._place(_frames(task, self._driver))

    def _place(self, frames: list[FrameType]) -> float:
        """What is known of a future by the code that awaits it, the innermost last."""
        if not frames:
            return UNKNOWN
        module, code = _module(frames[-1]), frames[-1].f_code
        if module == "asyncio.tasks":
            return self._of_tasks(code.co_name, frames[-1].f_locals)
        if module == "asyncio.taskgroups":
            return STANDS
        if module in _LOCKS:
            # Whose lock, queue or event it is, the code that uses it shows.
            user = next((each for each in reversed(frames) if _module(each) not in _STRUCTURE), None)
            return STANDS if user is None or not self._is_io(user) else WORKS
        if module == _ANYIO and not self._is_io(frames[-1]):
            return STANDS
        return WORKS if self._is_io(frames[-1]) else UNKNOWN

    @staticmethod
    def _is_io(frame: FrameType) -> bool:
        """Code of streams, sockets, processes and threads, whatever it is made of."""
        module = _module(frame)
        return module.startswith("asyncio.") or (module == _ANYIO and not frame.f_code.co_qualname.startswith(_ANYIO_STRUCTURE))

    def _of_tasks(self, name: str, values: dict[str, Any]) -> float:
        if name == "sleep":
            return TIMER
        if name == "_cancel_and_wait":
            return STANDS
        if name == "_wait":
            return max((self.future(each, None) for each in values.get("fs", ()) if not each.done()), default=STANDS)
        inner = values.get("fut")
        if name == "wait_for" and isinstance(inner, asyncio.Future) and id(inner) not in self._seen:
            return self.future(inner, None)
        return UNKNOWN


def _callbacks(future: Any) -> Iterator[Any]:
    for entry in getattr(future, "_callbacks", None) or ():
        yield entry[0]


def _closure(function: Any) -> dict[str, Any]:
    return dict(zip(function.__code__.co_freevars, (cell.cell_contents for cell in function.__closure__), strict=True))


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _frames(task: Any, driver: CodeType | None) -> list[FrameType]:
    """The frames of what a task awaits, the outermost first."""
    frames: list[FrameType] = []
    code: Any = task.get_coro()
    while code is not None and len(frames) < 1000:
        kind = type(code).__name__
        if kind in _BETWEEN:
            code = next((each for each in gc.get_referents(code) if isinstance(each, _CODE) or type(each).__name__ in _BETWEEN), None)
            continue
        prefix = {"async_generator": "ag", "generator": "gi"}.get(kind, "cr")
        frame = getattr(code, f"{prefix}_frame", None)
        if frame is not None:
            frames.append(frame)
        if frame is not None and frame.f_code is driver:
            code = frame.f_locals["code"]
        else:
            code = getattr(code, "gi_yieldfrom" if prefix == "gi" else f"{prefix}_await", None)
    return frames
