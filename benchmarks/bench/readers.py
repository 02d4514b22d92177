"""Readers of event streams, a process of its own: `python -m bench.readers '{"port": 8000, "warm_up": 1, "seconds": 9}'`, with their paths
on the standard input, one a line.

Prints one JSON object: how many events came, and for each one after the first `warm_up` seconds the milliseconds from its `at` (the store's
clock) to its receipt here. Both are the clock of this machine.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import datetime
from typing import Any, cast

import uvloop

from bench.errors import CheckError

AT_ONCE = 100  # connections that are opened side by side


class Reader(asyncio.Protocol):
    """One connection that reads one stream: bare, so that it costs much less than what it measures."""

    def __init__(self, path: str, delays: list[float], counted_from: float) -> None:
        self._path, self._delays, self._counted_from = path, delays, counted_from
        self._rest, self._last = b"", 0
        self.opened = asyncio.Event()
        self.events, self.trouble = 0, ""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's transports are of no common class
        self.transport.write(f"GET {self._path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode())

    def connection_lost(self, exc: Exception | None) -> None:
        """A stream that ends before we leave is a fault."""
        self.trouble = self.trouble or f"the service closed a stream ({exc})"
        self.opened.set()

    def data_received(self, data: bytes) -> None:
        """Find the events; the framing around them (chunks, ids, comments) is skipped."""
        now = time.time()
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if not self.opened.is_set():
            if not lines or b" 200 " not in lines[0]:
                self.trouble = f"a stream was answered with {lines[:1]}"
            self.opened.set()
        for line in lines:
            if line.startswith(b"data: "):
                event = json.loads(line[6:])
                self.events += 1
                if event["seq"] != self._last + 1:
                    self.trouble = f"event {event['seq']} came after event {self._last}"
                self._last = event["seq"]
                if now >= self._counted_from:
                    self._delays.append(1000 * (now - datetime.fromisoformat(event["at"]).timestamp()))


async def read(port: int, paths: list[str], *, seconds: float, warm_up: float) -> dict[str, Any]:
    """Open all streams, read for `warm_up + seconds`, leave."""
    loop, delays = asyncio.get_running_loop(), list[float]()
    start = time.time()
    readers: list[Reader] = []
    for first in range(0, len(paths), AT_ONCE):
        some = [Reader(path, delays, start + warm_up) for path in paths[first : first + AT_ONCE]]
        await asyncio.gather(*(loop.create_connection(lambda reader=reader: reader, "127.0.0.1", port) for reader in some))  # type: ignore[misc]
        await asyncio.gather(*(reader.opened.wait() for reader in some))
        readers += some
    await asyncio.sleep(start + warm_up + seconds - time.time())
    troubles = [reader.trouble for reader in readers if reader.trouble]
    for reader in readers:
        if reader.transport is not None:
            reader.transport.abort()
    if troubles:
        raise CheckError(f"{len(troubles)} of {len(readers)} readers: {troubles[0]}")
    return {"events": sum(reader.events for reader in readers), "delays": delays}


def main(spec: dict[str, Any]) -> int:
    """Run and print the result."""
    paths = sys.stdin.read().split()
    try:
        print(json.dumps(uvloop.run(read(spec.pop("port"), paths, **spec))))
    except (CheckError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
