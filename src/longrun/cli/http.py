"""A small client of the HTTP API for the commands: where the server is, patient requests, and problems in plain words.

Failures are httpx's own exceptions (`TransportError`: no answer; `HTTPStatusError`: a problem); `explain` turns them into a
text and an exit code.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import httpx

FAILED, USAGE, UNREACHABLE = 1, 2, 5
_USAGE_STATUSES = frozenset({400, 413, 415, 422})
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_TRY_AGAIN = frozenset({429, 502, 503, 504})
_PATIENCE = 10.0  # seconds of trying again when the server was reached but could not serve
_PATIENCE_REFUSED = 2.0  # … when nothing listens: a restart is over by then, a server that was never started is not
_ANSWER = 15.0  # seconds for an answer that has nothing to wait for


class Client:
    """Calls one server. Every request may be sent again after a broken connection, so callers give only requests that allow it.

    Args:
        url: of the server, without `/api/v1`.
        key: sent as the bearer token; "" = none.
        say: told when a request is tried again, once a request.
    """

    def __init__(self, url: str, key: str = "", say: Callable[[str], None] = lambda _: None) -> None:
        import httpx

        self.url = url
        self._say = say
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # A proxy from the environment must not stand between two processes of one machine.
        trust = urlsplit(url).hostname not in _LOOPBACK
        self._http = httpx.Client(base_url=f"{url}/api/v1", headers=headers, timeout=_ANSWER, trust_env=trust, follow_redirects=True)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(
        self, method: str, path: str, *, body: Any = None, headers: dict[str, str] | None = None, wait: float = 0, safe: bool = True
    ) -> httpx.Response:
        """One request, tried again while the server is away or too busy.

        Args:
            method: such as `GET`.
            path: after `/api/v1`, with its query.
            body: sent as JSON.
            headers: further headers.
            wait: seconds for which the server may hold the answer back (`Prefer: wait`).
            safe: False = a second request would do a second thing, so only a refused connection is tried again.

        Raises:
            httpx.TransportError: no answer.
            httpx.HTTPStatusError: an answer other than 2xx or 304.
        """
        import httpx

        started, pause, told = time.monotonic(), 0.2, False
        content = None if body is None else json.dumps(body).encode()
        headers = {**(headers or {}), **({"Content-Type": "application/json"} if content is not None else {})}
        while True:
            asked = pause
            try:
                response = self._http.request(method, path, content=content, headers=headers, timeout=wait + _ANSWER)
            except httpx.ConnectError:
                if time.monotonic() - started + pause > _PATIENCE_REFUSED:
                    raise
            except httpx.TransportError:
                if not safe or time.monotonic() - started + pause > _PATIENCE:
                    raise
            else:
                asked = max(pause, _seconds(response.headers.get("Retry-After")))
                if not safe or response.status_code not in _TRY_AGAIN or time.monotonic() - started + asked > _PATIENCE:
                    return response if response.status_code == 304 else response.raise_for_status()
            if not told:
                self._say(f"{self.url} does not serve right now, trying again")
                told = True
            time.sleep(asked)
            pause = min(pause * 2, 3.0)

    def get(self, path: str) -> Any:
        """The JSON at `path`."""
        return self.send("GET", path).json()

    def glance(self, path: str, timeout: float) -> Any:
        """The JSON at `path`, which counts from the server's root; None when it does not come within `timeout` seconds."""
        import httpx

        try:
            return self._http.get(f"{self.url}{path}", timeout=timeout).json()
        except (httpx.TransportError, ValueError):
            return None

    @contextmanager
    def stream(self, path: str, headers: dict[str, str], silence: float) -> Iterator[httpx.Response]:
        """Open a stream of server-sent events; `silence` = seconds without a byte after which it counts as broken."""
        import httpx

        timeout = httpx.Timeout(_ANSWER, read=silence)
        with self._http.stream("GET", path, headers={"Accept": "text/event-stream", **headers}, timeout=timeout) as response:
            if response.is_error:
                response.read()
            yield response.raise_for_status()


def connect(url: str | None, key: str | None, say: Callable[[str], None] = lambda _: None) -> Client:
    """The client for `--url` and `--key`; what is not given comes from LONGRUN_URL and LONGRUN_KEY, in the environment or `.env`.

    Raises:
        ValueError: the URL is none.
    """
    return Client(server_url(url), key or _setting("LONGRUN_KEY"), say)


def server_url(url: str | None) -> str:
    """The server's URL: as given, or LONGRUN_URL, or this machine at LONGRUN_PORT.

    Raises:
        ValueError: it is not an http or https URL.
    """
    port = _setting("LONGRUN_PORT")
    chosen = url or _setting("LONGRUN_URL") or f"http://127.0.0.1:{port if port not in ('', '0') else 8000}"
    parts = urlsplit(chosen)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{chosen!r} is not the URL of a server; write it as http://127.0.0.1:8000")
    return chosen.rstrip("/").removesuffix("/api/v1")


def explain(error: Exception, url: str = "") -> tuple[str, int]:
    """What to tell the user about a failed request, and the exit code.

    Raises:
        Exception: `error` itself, when it is not about a request.
    """
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return problem_text(error.response), exit_code(error.response)
    if isinstance(error, httpx.TransportError):
        where = url or _asked(error)
        return (
            f"{where} does not answer ({type(error).__name__}): start it with `longrun serve`, or name another server with --url",
            UNREACHABLE,
        )
    raise error


def _asked(error: httpx.TransportError) -> str:
    try:
        return str(error.request.url.copy_with(path="/", query=None)).rstrip("/")
    except RuntimeError:
        return "the server"


def exit_code(response: httpx.Response) -> int:
    """2 when the request itself was wrong, otherwise 1."""
    wrong = response.status_code in _USAGE_STATUSES or _problem(response).get("code") == "unknown-model"
    return USAGE if wrong else FAILED


def problem_text(response: httpx.Response) -> str:
    """A problem (RFC 9457) in lines of text: code and detail, then each finding with its pointer, then the request id."""
    problem = _problem(response)
    if not problem:
        return f"HTTP {response.status_code} from {response.url}: {response.text[:200].strip()}"
    detail = problem.get("detail") or problem.get("title", "")
    lines = [f"{problem['code']}: {detail}"]
    findings = [f"{finding.get('pointer') or '/'}: {finding.get('detail', '')}" for finding in problem.get("errors") or []]
    lines += [f"  {finding}" for finding in findings if finding != detail]
    if problem.get("job_id"):
        lines.append(f"  job: {problem['job_id']}")
    if problem.get("request_id"):
        lines.append(f"  request id: {problem['request_id']}")
    return "\n".join(lines)


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) and "code" in found else {}


def _seconds(text: str | None) -> float:
    return float(text) if text and text.isascii() and text.isdigit() else 0.0


def _setting(name: str) -> str:
    value = os.environ.get(name, "")
    if value or not Path(".env").is_file():
        return value
    from dotenv import dotenv_values

    return dotenv_values(".env").get(name) or ""
