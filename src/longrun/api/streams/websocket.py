"""Events over a WebSocket (RFC 6455): one text frame each, the JSON of the stream; the client may ask to cancel the job."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import orjson
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocket, WebSocketDisconnect

from longrun.api.http.write_timeout import PATIENCE
from longrun.api.streams.disconnect import ended_by
from longrun.api.streams.lost import LOST, error_event
from longrun.errors import JobGone, JobLost, JobNotFound, Problem
from longrun.service import control
from longrun.service.caller import Caller
from longrun.service.watch import follow
from longrun.wire import event_json

#: The subprotocol that is spoken here; it needs not be asked for.
SUBPROTOCOL = "longrun.v1"
#: Seconds until a message must be on its way. A little less than what the server grants any connection, which then cuts without a word.
WRITE_PATIENCE = PATIENCE - 5
#: Seconds for the last word to get through to a reader that took nothing.
_LAST_WORD = 3.0
_ALLOWED = 'send {"cancel": true} or nothing'


class Close(NamedTuple):
    """How a connection ends: a code (RFC 6455, 7.4) and a reason, 123 bytes at most."""

    code: int
    reason: str


def lost(problem: Problem) -> Close:
    """How a connection ends whose job, or whose events, are not there any more."""
    return Close(4000 + problem.status, f"{problem.code}: {problem.title}")


def asks_to_cancel(text: str) -> bool:
    """Whether a message is `{"cancel": true}`, which is all that may be said."""
    try:
        said = orjson.loads(text)
    except ValueError:
        return False
    return isinstance(said, dict) and list(said) == ["cancel"] and said["cancel"] is True


class EventSocket:
    """One accepted connection.

    Args:
        socket: not yet accepted.
        caller: who asks.
        job_id: whose events.
        after: the seq that the client has.
        types: the types that it wants.
    """

    def __init__(self, socket: WebSocket, caller: Caller, job_id: str, after: int, types: frozenset[str]) -> None:
        self._socket, self._caller, self._job_id, self._types = socket, caller, job_id, types
        self._pieces = follow(caller, job_id, after)
        self._sent = after
        self._ended = False

    async def serve(self) -> None:
        """Accept, send everything, close."""
        offered = self._socket.scope.get("subprotocols", [])
        try:
            await self._socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        except OSError:
            return  # the client left before its handshake was answered: then ASGI servers raise this
        hearing = asyncio.ensure_future(self._hear())
        try:
            try:
                async with ended_by(hearing):
                    close: Close | None = await self._send_events()
            except LOST as problem:
                close = await self._send_error(problem)
            except ClientDisconnect:
                close = hearing.result()
            if close is not None:
                async with asyncio.timeout(_LAST_WORD):
                    await self._socket.close(*close)
        except (WebSocketDisconnect, TimeoutError):
            pass
        finally:
            await self._pieces.aclose()

    async def _send_events(self) -> Close:
        async for piece in self._pieces:
            for event in piece:
                if event.type in self._types:
                    try:
                        async with asyncio.timeout(WRITE_PATIENCE):
                            await self._socket.send_text(event_json(event).decode())
                    except TimeoutError:
                        return Close(1013, f"resume with ?after={self._sent}")
                self._sent = event.seq
                self._ended = event.type == "done"
        if self._caller.store.follower.dismissed and not self._ended:
            return Close(1012, f"resume with ?after={self._sent}")
        return Close(1000, "the job has ended" if self._ended else "nothing is left, the job has ended or is gone")

    async def _send_error(self, problem: Problem) -> Close:
        async with asyncio.timeout(_LAST_WORD):
            await self._socket.send_text(event_json(error_event(problem, self._socket.scope)).decode())
        return lost(problem)

    async def _hear(self) -> Close | None:
        """Until the client leaves (None), or says what may not be said."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return None
            if message.get("text") is None:
                return Close(1003, f"text only: {_ALLOWED}")
            if not asks_to_cancel(message["text"]):
                return Close(1008, f"not understood: {_ALLOWED}")
            try:
                await control.cancel(self._caller, self._job_id)
            except JobGone:
                return Close(1000, "the job was deleted or has expired")
            except JobNotFound:
                return lost(JobLost())
            except Problem as problem:
                return Close(1011, f"not known to be canceled, try again: {problem.code}")
