"""Failpoints for programs under test, without a line in the product: this folder is put on their PYTHONPATH.

CHAOS_FAILPOINT="<when>:<point>:<n>=<what>", several separated by commas:

- point: the name of a script (`claim`, `finish`, …): the n-th time that this process sends it; `pop`: the n-th ticket that this
  process has taken from its lane and not claimed; or `put`: the n-th file that this runner stores in a folder;
- when: `before` (nothing has happened yet) or `after` (the store has done it, and nobody here knows yet). `pop` is always after;
- what: `exit` (as by SIGKILL, the process alone), `stop` (SIGSTOP), `sleep:S`, `raise` (the answer of the store is lost), or `kill:FILE`
  (SIGKILL to the process whose id is the last word of that file).

CHAOS_CLOCK="<seconds>": the wall clock of this process is so much ahead (negative: behind).

Python imports a module of this name at its start, before everything else (see the documentation of `site`).
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import os
import signal
import sys
import time
from collections import Counter
from typing import Any

_calls: Counter[str] = Counter()
_points: dict[tuple[str, str, int], str] = {}


def _read(text: str) -> None:
    for entry in filter(None, text.split(",")):
        place, _, what = entry.partition("=")
        when, point, number = place.split(":")
        assert when in ("before", "after") and what.partition(":")[0] in ("exit", "stop", "sleep", "raise", "kill"), entry
        _points[when, point, int(number)] = what


def _act(when: str, point: str, number: int) -> None:
    what, _, detail = _points.get((when, point, number), "").partition(":")
    if not what:
        return
    os.write(2, f"failpoint {when}:{point}:{number} {what}\n".encode())
    if what == "exit":
        os._exit(1)
    elif what == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(0.05)  # another thread may take the signal, and this one would go on for a moment
    elif what == "sleep":
        time.sleep(float(detail))
    elif what == "kill":
        from pathlib import Path

        with contextlib.suppress(ProcessLookupError):
            os.kill(int(Path(detail).read_text().split()[-1]), signal.SIGKILL)
    else:
        from longrun.errors import StoreUnavailable

        raise StoreUnavailable(f"failpoint {when}:{point}:{number}")


def _wrap_connection(module: Any) -> None:
    import asyncio

    connection = module.Connection
    original = connection.start

    def start(self: Any, name: str, *args: Any, timeout: float | None = None) -> Any:
        if not any(point == name for _, point, _ in _points):
            return original(self, name, *args, timeout=timeout)
        _calls[name] += 1
        number = _calls[name]
        _act("before", name, number)
        asked = original(self, name, *args, timeout=timeout)

        async def answered() -> Any:
            answer = await asked
            _act("after", name, number)
            return answer

        return asyncio.ensure_future(answered())

    async def run(self: Any, name: str, *args: Any, timeout: float | None = None) -> Any:
        return await start(self, name, *args, timeout=timeout)

    connection.start, connection.run = start, run


def _wrap_transport(module: Any) -> None:
    original = module.Channel._take

    def take(self: Any, reply: list[bytes]) -> None:
        for _ in reply[::3]:
            _calls["pop"] += 1
            _act("after", "pop", _calls["pop"])
        original(self, reply)

    module.Channel._take = take


def _wrap_folder(module: Any) -> None:
    original = module.Folder.put_blocking

    def put_blocking(self: Any, *args: Any, **options: Any) -> Any:
        _calls["put"] += 1
        number = _calls["put"]
        _act("before", "put", number)
        stored = original(self, *args, **options)
        _act("after", "put", number)
        return stored

    module.Folder.put_blocking = put_blocking


_WRAPS = {
    "longrun.store.connection": _wrap_connection,
    "longrun.queues.celery.transport": _wrap_transport,
    "longrun.blobs.folder": _wrap_folder,
}


class _Finder(importlib.abc.MetaPathFinder):
    """Wraps a module as soon as it has been imported."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path) if fullname in _WRAPS else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def then_wrap(module: Any) -> None:
            execute(module)
            _WRAPS[fullname](module)

        spec.loader.exec_module = then_wrap  # type: ignore[method-assign]
        return spec


def _shift_clock(seconds: float) -> None:
    plain, plain_ns = time.time, time.time_ns
    time.time = lambda: plain() + seconds
    time.time_ns = lambda: plain_ns() + int(seconds * 1e9)


if os.environ.get("CHAOS_FAILPOINT"):
    _read(os.environ["CHAOS_FAILPOINT"])
    sys.meta_path.insert(0, _Finder())
if os.environ.get("CHAOS_CLOCK"):
    _shift_clock(float(os.environ["CHAOS_CLOCK"]))
