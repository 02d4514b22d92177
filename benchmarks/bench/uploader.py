"""Many uploads at once, from a process of its own: `python -m bench.uploader '{"port": 8000, "path": "/files", "count": 9, "size": 500}'`.

Prints one JSON object: the answers by their status, the seconds from the first byte to the last answer, and of refusals the first one.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from typing import Any

import uvloop

PIECE = 64 * 1024
BOUNDARY = "bench"
HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="x.bin"\r\n'.encode()
    + b"Content-Type: application/octet-stream\r\n\r\n"
)
TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()


async def upload(port: int, path: str, data: memoryview) -> tuple[int, bytes]:
    """Send one file over a connection of its own: status and body of the answer; 0 when the connection broke without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    length = len(HEAD) + len(data) + len(TAIL)
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        f"Content-Length: {length}",
    )
    try:
        writer.write("\r\n".join((*lines, "", "")).encode() + HEAD)
        for at in range(0, len(data), PIECE):
            writer.write(data[at : at + PIECE])
            await writer.drain()
        writer.write(TAIL)
    except ConnectionError:
        pass  # refused before its end: the answer says why
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        size = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        return int(head[9:12]), await reader.readexactly(size)
    except (ConnectionError, asyncio.IncompleteReadError, ValueError):
        return 0, b""
    finally:
        writer.close()


async def run(port: int, path: str, count: int, size: int) -> dict[str, Any]:
    """All at once."""
    data = memoryview(os.urandom(size))
    begun = time.monotonic()
    answers = await asyncio.gather(*(upload(port, path, data) for _ in range(count)))
    seconds = time.monotonic() - begun
    refused = [body[:300].decode(errors="replace") for status, body in answers if status != 201]
    return {"statuses": Counter(status for status, _ in answers), "seconds": seconds, "refused": refused[:1]}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(**json.loads(sys.argv[1])))))
