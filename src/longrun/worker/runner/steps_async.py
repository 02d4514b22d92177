"""The steps of an async run: each await of them is a future on the runner's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from longrun.errors import LetGo, SoftTimeLimit
from longrun.models.steps.awaits import Await
from longrun.models.steps.branch import Branch, branch_of
from longrun.models.steps.journal import History
from longrun.models.steps.start import Start
from longrun.worker.runner.context import Context
from longrun.worker.runner.interrupts import awaited
from longrun.worker.runner.run import Run
from longrun.worker.runner.standstill import RUNS, STANDS, WORKS, Look
from longrun.worker.runner.steps import Steps

T = TypeVar("T")
#: Seconds between two looks at a run whose code has branches that work.
_LOOK = 0.05
#: Turns of the loop in which nothing moves until tasks count as being at rest (who waits for a task goes on some turns after its end), and
#: turns after which they count as busy.
_REST, _TURNS = 4, 20
#: Seconds for which a replay waits for branches that work, which may ask for the steps that it looks for.
_HOLD = 1.0


class StepFuture(asyncio.Future[None]):
    """That of an await of steps."""


def _is_step(future: object) -> bool:
    return isinstance(future, StepFuture)


class Watch:
    """Looks at runs again and again, as long as they wait for steps and have branches that work."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watched: set[AsyncSteps] = set()

    def add(self, steps: AsyncSteps) -> None:
        """Look at it in a moment."""
        if not self._watched:
            self._loop.call_later(_LOOK, self._look)
        self._watched.add(steps)

    def _look(self) -> None:
        watched, self._watched = self._watched, set()
        for steps in watched:
            steps.look()


class AsyncSteps(Steps):
    """See the module.

    Args:
        task: that of the call.
        branch: its main branch.
        off_loop: does work on a thread.
    """

    is_async = True

    def __init__(
        self,
        run: Run,
        context: Context,
        start: Start,
        *,
        task: asyncio.Task[None],
        branch: Branch,
        watch: Watch,
        off_loop: Callable[[Callable[[], Any]], Awaitable[Any]],
    ) -> None:
        self._task, self._branch, self._watch, self._off_loop = task, branch, watch, off_loop
        self._loop = task.get_loop()
        self._scheduled = False
        self._turns = self._rested = 0
        self._progress = 0.0  # when something of its steps happened last
        # Tasks of which it is not known that they wait for a step or for one of the others; and how often one was added.
        self._moving, self._moves = {task}, 0
        self._stood: tuple[int, list[tuple[Any, Any]]] = (0, [])  # what these waited for at the last look, and since when that is so
        self._since = 0.0
        self._judge = Look(self._belongs, _is_step, awaited.__code__)
        super().__init__(run, context, start)
        branch.watch(self._moved)

    def begin(self, history: History) -> None:
        """See `Steps`."""
        super().begin(history)
        self._flow.main = self._branch

    async def wait(self, waiting: Await) -> None:
        """See `Port`."""
        self._goes_on()
        if self.must_stop():
            self.stop_here(waiting)
        if waiting.done:
            return
        future, task = StepFuture(loop=self._loop), asyncio.current_task()
        assert task is not None

        def done() -> None:
            if not future.done():
                self._moved(task)
                future.set_result(None)

        waiting.on_done = done
        self._progress = monotonic()
        self._look_soon()
        try:
            await future
        except asyncio.CancelledError:
            self._moved(task)
            self._goes_on()
            self._flow.abandon(waiting, drop=self.run.reason is None)
            self._look_soon()
            raise

    def check_place(self) -> None:
        """See `Steps`. A thread may make a call, which is awaited here."""

    async def aside(self, work: Callable[[], T]) -> T:
        """See `Port`."""
        return await self._off_loop(work)  # type: ignore[no-any-return]

    # -- whether it stands still ------------------------------------------------------------------------------------------

    def _look_soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.look)

    def look(self) -> None:
        """Say what is to be said, and wake what is to go on, when its tasks have come to rest."""
        self._scheduled = False
        if self.closed:
            return
        needed, now = self._patience(), monotonic()
        self._turns += 1
        self._rested = 0 if needed == RUNS else self._rested + 1
        if self._rested < _REST and self._turns < _TURNS:
            self._look_soon()
            return
        self._turns = 0
        stands = needed == STANDS or self._quiet(now) >= needed
        self.send(self._flow.turn(idle=stands, hold=now - self._progress < _HOLD))
        if self._flow.woke:
            self._progress = now
            self._look_soon()
        elif self._flow.waiting and not stands:
            self._watch.add(self)

    def _moved(self, task: asyncio.Task[Any]) -> None:
        self._moving.add(task)
        self._moves += 1
        self._rested = 0

    def _belongs(self, task: Any) -> bool:
        branch = branch_of(task)
        return branch is not None and branch.main is self._branch

    def _patience(self) -> float:
        """Of those that move. Who is found to wait for the others is asked again when that is over."""
        longest = STANDS
        for task in tuple(self._moving):
            needed = STANDS if task.done() else self._judge.patience(task)
            if needed == STANDS:
                self._moving.discard(task)
                waits_for = getattr(task, "_fut_waiter", None)
                if waits_for is not None and not _is_step(waits_for):
                    waits_for.add_done_callback(partial(self._other_is_done, task))
            longest = max(longest, needed)
        return longest

    def _quiet(self, now: float) -> float:
        """Seconds for which its tasks have waited for what they wait for now."""
        stand = self._moves, [(task, getattr(task, "_fut_waiter", None)) for task in self._moving]
        if stand != self._stood:
            self._stood, self._since = stand, now
        return now - self._since

    # -- what comes -------------------------------------------------------------------------------------------------------

    def _feed(self, kind: str, n: int, *rest: Any) -> None:
        self._loop.call_soon_threadsafe(self._take, kind, n, *rest)

    def _take(self, kind: str, n: int, *rest: Any) -> None:
        if self.closed:
            return
        self._progress = monotonic()
        self._flow.feed(kind, n, *rest)
        if self._flow.parked and self._patience() >= WORKS:
            self._goes_on()
        self.note_parked()
        self._look_soon()

    def _moved_over(self) -> None:
        """When it is parked: what else its code waits for (a timer, say) may have it go on without an answer."""
        for task in tuple(self._moving) if self._away else ():
            other = getattr(task, "_fut_waiter", None)
            if other is not None:
                self._moving.discard(task)
                other.add_done_callback(partial(self._other_is_done, task))

    def _other_is_done(self, task: asyncio.Task[Any], _: Any) -> None:
        if not self.closed:
            self._moved(task)
            self._goes_on()
            self._look_soon()

    def _goes_on(self) -> None:
        """Its code goes on though no step has ended."""
        self.send(self._flow.awake())
        self.note_parked()

    # -- how it is stopped ------------------------------------------------------------------------------------------------

    def let_go(self) -> None:
        """See `Steps`."""
        self._loop.call_soon_threadsafe(self._unwind)

    def _unwind(self) -> None:
        if self._flow.parked and not self.closed and self.run.reason is None:
            self.run.request_stop(LetGo, is_async=True)
            self.interrupt()

    def interrupt(self) -> None:
        """Raise the reason where its main code waits, and, unless it is but the time limit, wherever a step is awaited."""
        self.go_on()
        self.run.interrupted = True
        self._task.cancel()
        if self.run.kind is not SoftTimeLimit:
            self._flow.stop(self.run.stop_error)

    def _ended(self) -> None:
        # Who still waits for a step is a task that the code has left behind.
        self._flow.stop(asyncio.CancelledError)
