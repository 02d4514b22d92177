"""The outermost layer: a request id on every answer, one log line a request, and a problem where our own code failed.

A WebSocket is one request: its handshake is the answer, its line is logged when it is closed.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longrun.api.http.request import head_of
from longrun.api.problems import INTERNAL, refuse
from longrun.errors import Problem
from longrun.log import Log

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: The messages that begin an answer.
_ANSWERS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
_log = Log("longrun.api")


class RequestId:
    """See the module. Notes `request_id` in the scope's state.

    Args:
        app: what is inside.
        is_stopping: whether callers are to open their next connection elsewhere.
    """

    def __init__(self, app: ASGIApp, is_stopping: Callable[[], bool] = lambda: False) -> None:
        self._app, self._is_stopping = app, is_stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        asked = head_of(scope).get("x-request-id", "")
        request_id = asked if _REQUEST_ID.fullmatch(asked) else f"req_{secrets.token_hex(8)}"
        scope.setdefault("state", {})["request_id"] = request_id
        method, began, status, left = scope.get("method", "WEBSOCKET"), time.perf_counter(), 0, False

        async def send_with_id(message: Message) -> None:
            nonlocal status, left
            if message["type"] in _ANSWERS:
                status = message.get("status", 101)
                headers = [each for each in message.get("headers", ()) if each[0] != b"x-request-id"]
                headers.append((b"x-request-id", request_id.encode()))
                if status != 101 and self._is_stopping():
                    headers = [*(each for each in headers if each[0] != b"connection"), (b"connection", b"close")]
                message["headers"] = headers
            try:
                await send(message)
            except OSError:  # by which servers say that nobody is there (ASGI)
                left = True
                raise

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            if left or isinstance(error, ClientDisconnect):
                _log.debug("caller went away", method=method, path=scope["path"], request_id=request_id)
            else:
                _log.error("request failed", exc_info=True, method=method, path=scope["path"], request_id=request_id)
                if status:
                    raise  # the answer has begun: only breaking the connection off tells the caller
                await refuse(Problem(INTERNAL), scope, receive, send_with_id)
        seconds = round(time.perf_counter() - began, 4)
        _log.debug("request", method=method, path=scope["path"], status=status, seconds=seconds, request_id=request_id)
