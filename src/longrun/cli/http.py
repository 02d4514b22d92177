"""The client as the commands use it: it gives up earlier than a program's, and its failures are a text and an exit code."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from longrun.errors import ApiError, DownloadBroken, Unreachable

if TYPE_CHECKING:
    from longrun.client import Client
    from longrun.client.http.connection import Connection

FAILED, USAGE, UNREACHABLE = 1, 2, 5
_USAGE_STATUSES = frozenset({400, 413, 415, 422})
_PATIENCE = 10.0  # seconds of trying again when the server was reached but could not serve
_PATIENCE_REFUSED = 2.0  # … when nothing listens: a restart is over by then, a server that was never started is not


def connect(url: str | None, key: str | None, say: Callable[[str], None] | None = None) -> Client:
    """The client for `--url` and `--key`; what is not given comes from LONGRUN_URL and LONGRUN_KEY, in the environment or `.env`.

    Raises:
        ValueError: the URL or the key cannot be one.
    """
    from longrun.client import Client

    return Client(url, key or None, retry_for=_PATIENCE, refused_for=_PATIENCE_REFUSED, on_retry=say)


def glance(connection: Connection, url: str, timeout: float) -> Any:
    """The JSON at `url`, asked for once; None when it does not come within `timeout` seconds."""
    from longrun.client.http.steps import Answer, Request

    reply = connection.send(Request("GET", url, limit=timeout))
    try:
        return reply.json() if isinstance(reply, Answer) else None
    except ValueError:
        return None


def explain(error: Exception) -> tuple[str, int]:
    """The text for a failed request, and the exit code: 2 when the request itself was wrong, 5 without an answer, else 1.

    Raises:
        Exception: `error` itself, when it is not about a request.
    """
    if isinstance(error, ApiError):
        return str(error), USAGE if error.status in _USAGE_STATUSES or error.code == "unknown-model" else FAILED
    if isinstance(error, Unreachable):
        return f"{error}\n  start it with `longrun serve`, or name another server with --url", UNREACHABLE
    if isinstance(error, DownloadBroken):
        return str(error), FAILED
    raise error
