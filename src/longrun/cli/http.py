"""The client as the commands use it: it gives up earlier than a program's, and its failures are a text and an exit code."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from longrun.cli.show import say
from longrun.errors import ApiError, DownloadBroken, Unreachable

if TYPE_CHECKING:
    import httpx

    from longrun.client import Client

T = TypeVar("T")
R = TypeVar("R")

FAILED, USAGE, UNREACHABLE = 1, 2, 5
_USAGE_STATUSES = frozenset({400, 413, 415, 422})
_RETRY_FOR = 10.0  # seconds of trying again when the server was reached but could not serve
_RETRY_REFUSED_FOR = 2.0  # … when nothing listens: a restart is over by then, a server that was never started is not


def connect(url: str | None, key: str | None, say: Callable[[str], None] | None = None) -> Client:
    """The client for `--url` and `--key`; what is not given comes from LONGRUN_URL and LONGRUN_KEY, in the environment or `.env`.

    Raises:
        ValueError: the URL or the key cannot be one.
    """
    from longrun.client import Client

    return Client(url, key or None, retry_for=_RETRY_FOR, refused_for=_RETRY_REFUSED_FOR, on_retry=say)


def glance(http: httpx.Client, url: str, timeout: float) -> Any:
    """The JSON at `url`, asked for once; None when it does not come within `timeout` seconds."""
    import httpx

    try:
        return http.get(url, timeout=timeout).json()
    except (httpx.HTTPError, ValueError):
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


def for_each(items: list[T], act: Callable[[T], R], show: Callable[[R], object] = lambda _: None) -> tuple[list[R], int]:
    """Do it for each, also after one has failed; each failure is said on stderr, each result given to `show`, whose errors end it all.

    Returns:
        What was done, and the exit code of the last failure; 0 = none.
    """
    done, code = [], 0
    for item in items:
        try:
            result = act(item)
        except (OSError, ValueError) as error:
            text, code = getattr(error, "strerror", None) or str(error), FAILED
            say(f"{item}: {text}")
        except Exception as error:
            text, code = explain(error)
            say(f"{item}: {text}")
        else:
            done.append(result)
            show(result)
    return done, code
