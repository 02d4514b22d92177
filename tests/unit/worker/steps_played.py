"""A worker at the other end of a runner that knows what a store would know of one parent's steps."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import orjson

from longrun.errors import Canceled
from longrun.models import isolated_registry, model
from longrun.worker.runner import event_loop
from longrun.worker.runner.async_executor import AsyncExecutor
from longrun.worker.runner.context import Context
from longrun.worker.runner.outcome import Done
from longrun.worker.runner.sync_executor import SyncExecutor

#: What a child comes to at once: its state and data. None: it is pending until `end` is called.
Ends = Callable[[str, Any], tuple[str, bytes] | None]
ID, FENCE = "job_1", "1/n"
KEY = (ID, FENCE)


def at_once(model: str, data: Any) -> tuple[str, bytes]:
    """Every child returns its input."""
    return "succeeded", orjson.dumps(data["data"])


with isolated_registry():

    def _child(name: str) -> Any:
        def child(data: Any = None) -> Any: ...

        return model(name=name)(child)

    CHILDREN = {name: _child(name) for name in ("draw", "brand", "judge", "slow", "quick", "clean")}


class PlayedWorker:
    """Runs one job of a model, and answers what it asks.

    Args:
        function: the model.
        ends: see `Ends`.
        fields, order: the journal of attempts before this one, and the keys in the order in which they ended.
        concurrency: threads of a sync model.

    Attributes:
        frames: all that has come, but events.
        children: by key: model, input, state, data.
        made: their keys, in the order in which they were made by this attempt.
        heard: events that had come when the last of them was made.
        parked: the run waits, as far as the worker knows.
    """

    def __init__(
        self,
        function: Any,
        ends: Ends = lambda *_: None,
        *,
        fields: dict[str, bytes] | None = None,
        order: Sequence[str] = (),
        known: dict[str, tuple[str, Any, str, bytes]] | None = None,
        concurrency: int = 1,
    ) -> None:
        spec = function.__longrun__
        self.frames: list[tuple[Any, ...]] = []
        self.events: list[tuple[str, Any]] = []
        self.done: dict[str, Done] = {}
        self.ends, self.fields, self.order = ends, dict(fields or {}), list(order)
        self.children = dict(known or {})
        self.made: list[str] = []
        self.dropped: list[str] = []
        self.parked = self.stale = False
        self.wake_at, self.seen, self.heard = 0, -1, 0
        self._lock = threading.RLock()
        self.key = KEY  # whose frame came last
        context = Context(self._send)
        instance = spec.instantiate()
        self.executor: AsyncExecutor | SyncExecutor
        if spec.is_async:
            loop = asyncio.get_running_loop()
            if not hasattr(loop, "prepared"):
                event_loop.Factory(loop, branches=True)
                loop.prepared = True  # type: ignore[attr-defined]
            self.executor = AsyncExecutor(spec, instance, context, loop=loop)
        else:
            self.executor = SyncExecutor(spec, instance, context)
            for _ in range(concurrency):
                threading.Thread(target=self.executor.serve, daemon=True).start()

    def start(self, *, flow: Any = None, once: bool = False, job_id: str = ID, **values: Any) -> PlayedWorker:
        """Run a job."""
        if flow is None and self.fields:
            flow = [0, 0, "-", 1, 0]
        self.executor.put([(job_id, FENCE, orjson.dumps(values), b"", once, flow)])
        return self

    async def outcome(self, job_id: str = ID) -> Done:
        """How it has ended."""
        await self.until(lambda: job_id in self.done)
        return self.done[job_id]

    async def until(self, what: Callable[[], Any]) -> None:
        """Wait for it."""
        end = time.monotonic() + 4
        while not what():
            assert time.monotonic() < end, (self.frames, self.done, self.events)
            await asyncio.sleep(0.001)

    def named(self, kind: str) -> list[tuple[Any, ...]]:
        """The frames of a kind, without their id and fence."""
        return [frame[3:] for frame in self.frames if frame[0] == kind]

    def logs(self, kind: str = "log") -> list[Any]:
        """What it has said."""
        return [data if isinstance(data, dict) else orjson.loads(data) for name, data in self.events if name == kind]

    # -- what the store does ----------------------------------------------------------------------------------------------

    def end(self, key: str, data: Any = None, state: str = "succeeded") -> None:
        """A child ends."""
        with self._lock:
            model, given, _, _ = self.children[key]
            self.children[key] = model, given, state, orjson.dumps(data)
            self.order.append(key)
            if self.parked and len(self.order) >= self.wake_at:
                self._resume()

    def wake(self) -> None:
        """Have it go on."""
        with self._lock:
            self._resume()

    def stop(self, kind: type[Canceled], *, interrupt: bool = False) -> None:
        """Cancel it, or its time is over."""
        self.parked = False
        self.executor.stop([KEY], kind, interrupt=interrupt)

    def let_go(self) -> None:
        """Its place is needed."""
        self.executor.let_go([KEY])

    def reply(self, kind: str, *members: Any) -> None:
        """Send something to the runner."""
        self.executor.reply(kind, self.key, members)

    def _resume(self) -> None:
        self.parked = False
        rows = [self._row(key) for key in self.order[max(0, self.seen) :]]
        self.seen = len(self.order)
        self.reply("answer", 0, self.seen, False, 1000, rows)

    def _row(self, key: str) -> list[Any]:
        _, _, state, data = self.children[key]
        return [key, state, data, b"", f"job_of_{key}", 0]

    def _send(self, kind: str, *members: Any) -> None:
        with self._lock:
            if kind == "events":
                self.events += members[2]
            elif kind == "done":
                self.done |= {done[0]: done for done in members[0]}
            else:
                self.frames.append((kind, *members))
                self.key = (members[0], members[1])
                handler = getattr(self, f"_on_{kind}", None)
                if handler is not None:
                    handler(*members[2:])

    def _on_ask(self, n: int, seen: int, need: int, until: int, items: Sequence[Any]) -> None:
        if self.stale:
            return self.reply("stale", n)
        self.parked = False
        rows = [self._asked(*item) for item in items]
        ended = any(row[1] != "pending" for row in rows)
        self.wake_at = (seen if seen >= 0 else len(self.order)) + need
        self.parked = need > 0 and not ended and len(self.order) < self.wake_at
        self.seen = len(self.order)
        if need and not ended and not self.parked:
            rows += [self._row(key) for key in self.order[max(0, seen) :]]
        self.reply("answer", n, self.seen, self.parked, 1000, rows)
        return None

    def _asked(self, key: str, mark: str, kind: str, *call: Any) -> list[Any]:
        if key not in self.children:
            self.made.append(key)
            self.heard = len(self.events)
            model, data = (call[0], orjson.loads(call[1])) if kind == "run" else (kind, call)
            end = self.ends(model, data)
            self.children[key] = model, data, *(end or ("pending", b""))
            self.fields.setdefault(key, f"c job_of_{key} 0 {1000 + len(self.fields)} {mark}".encode())
            if end is not None:
                self.order.append(key)
        return self._row(key)

    def _on_journal(self, n: int, entries: Sequence[Any], stop: Sequence[str]) -> None:
        kept = [self.fields.setdefault(field, value) for field, value in entries]
        self.dropped += stop
        self.reply("kept", n, kept)

    def _on_drop(self, keys: Sequence[str]) -> None:
        self.dropped += keys
        self.fields |= {f"x:{key}": b"1" for key in keys}

    def _on_awake(self) -> None:
        if self.parked:
            self._resume()

    def _on_history(self, n: int) -> None:
        self.reply("stale", n) if self.stale else self.reply("history", n, self.fields, self.order)

    def again(self, function: Any, ends: Ends = lambda *_: None) -> PlayedWorker:
        """A later attempt, with what this one has journaled."""
        return PlayedWorker(function, ends, fields=self.fields, order=self.order, known=self.children)


async def settled(seconds: float = 0.03) -> None:
    """Let what is under way happen."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(seconds)
