"""A process that answers hostile bodies and says of each what it cost: `python -m tests.integration.api.measured <settings> <case>…`

Memory is what the process held at its peak, over what it held before. The loop's time is CPU time, not by the clock: that of its longest
step, and the most that the whole process spent between two steps of a task that does nothing, which is how long the loop was held. What
took long is tried again, and the least counts: on a busy machine the loop may have waited for a core.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import structlog
from fastapi import FastAPI
from tests.integration.api.hostile_bodies import CASES, LIMIT, Case, served

from longrun.api.app import build_app
from longrun.blobs.open import open_blobs
from longrun.queues.celery.tickets import ticket_template
from longrun.service.parts import Parts
from longrun.settings import Settings
from longrun.store.store import Store

_PIECE = 64 * 1024
_TICK = 0.001
#: Seconds of CPU time that are measured again, and how often.
_LONG, _TRIES = 0.05, 4


class Loop:
    """What the steps of the event loop take."""

    def __init__(self) -> None:
        self.longest = self.held = 0.0
        self._run = asyncio.Handle._run
        asyncio.Handle._run = self._timed()  # type: ignore[method-assign]

    def _timed(self) -> Any:
        run, loop = self._run, self

        def timed(handle: asyncio.Handle) -> None:
            began = time.thread_time()
            run(handle)
            loop.longest = max(loop.longest, time.thread_time() - began)

        return timed

    async def watch(self) -> None:
        """Note how much CPU time the process spends between two turns; runs until it is canceled."""
        while True:
            before = time.process_time()
            await asyncio.sleep(_TICK)
            self.held = max(self.held, time.process_time() - before)


def _bytes(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith(name)).split()[1]) * 1024


def _begin() -> int:
    """Give back what is free, and begin a new peak; the bytes that are held now."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _bytes("VmRSS")


async def _call(app: FastAPI, case: Case, body: bytes) -> tuple[int, bytes]:
    pieces = [body[start : start + _PIECE] for start in range(0, len(body), _PIECE)] or [b""]
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces] + [{"type": "http.request", "body": b""}]
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(0)
        return messages.pop(0) if messages else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    path = f"/api/v1{case.path}"
    head = ((b"host", b"localhost"), (b"content-type", case.content_type.encode()), (b"content-length", b"%d" % len(body)))
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": case.method, "scheme": "http", "path": path,
        "raw_path": path.encode(), "query_string": case.query, "root_path": "", "headers": [*head, *case.headers],
        "client": ("127.0.0.1", 1), "server": ("localhost", 80), "state": {},
    }  # fmt: skip
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


async def main(settings: Settings, names: list[str]) -> None:
    """Answer these, and print a line of JSON for each."""
    loop = Loop()

    def open_parts() -> Parts:
        return Parts(settings, Store(settings.redis_url, settings, ticket_template()), served(), blobs=open_blobs(settings))

    app = build_app(settings, served(), open_parts)
    async with app.router.lifespan_context(app):
        await _call(app, Case(lambda: b"", ()), b'{"input":{}}')  # what the first request loads is none of theirs
        for name in names:
            body, tries = CASES[name].body(), []
            assert len(body) <= LIMIT, f"{name}: {len(body)}"
            while len(tries) < _TRIES and not (tries and tries[-1]["held"] < _LONG):
                tries.append(await _measured(app, CASES[name], body, loop))
            least = {what: min(each[what] for each in tries) for what in ("bytes", "step", "held")}
            print(orjson.dumps({"name": name, **tries[0], **least}).decode(), flush=True)


async def _measured(app: FastAPI, case: Case, body: bytes, loop: Loop) -> dict[str, Any]:
    before = _begin()
    await asyncio.sleep(0)
    loop.longest = loop.held = 0.0
    watching = asyncio.create_task(loop.watch())
    status, answer = await _call(app, case, body)
    await asyncio.sleep(2 * _TICK)  # ends the step in which it was answered, and lets the watching task see it
    watching.cancel()
    cost = {"bytes": _bytes("VmHWM") - before, "step": loop.longest, "held": loop.held}
    return {"status": status, "size": len(answer), "answer": answer[:500].decode(errors="replace"), **cost}


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    asyncio.run(main(Settings(**orjson.loads(sys.argv[1])), sys.argv[2:]))
