"""Waiting for the end of a job or a batch, and a job's output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from longrun.client.http.retry import TRY_AGAIN, Rules
from longrun.client.http.steps import ANSWER, Flow, Json, Request, Sleep
from longrun.client.protocol.calls import body_of, call, get, path_of
from longrun.errors import ApiError, CallError

LONG_POLL = 20  #: seconds that the server may hold an answer back: less than what proxies allow


@dataclass(frozen=True, slots=True)
class Awaited:
    """A job or a batch whose end is waited for."""

    path: str
    name: str  #: for messages
    poll: int = LONG_POLL  #: seconds that the server may hold an answer back
    see: Callable[[Json], object] = lambda _: None  #: called with the JSON of each answer, the last one too


def await_end(rules: Rules, what: Awaited, timeout: float | None) -> Flow[Json]:
    """Its JSON once it has ended.

    Args:
        rules: for how long each call is tried again.
        what: a job or a batch.
        timeout: seconds to wait; None = as long as it takes.

    Raises:
        TimeoutError: it has not ended by then, as far as could be found out.
        ApiError, Unreachable
    """
    end = None if timeout is None else rules.clock() + timeout
    while True:
        begun = rules.clock()
        left = None if end is None else max(0.0, end - begun)
        try:
            answer = yield from call(rules, _hold(what, left), end)
        except CallError as error:
            # Given up before its time, so for the sake of the caller's limit.
            if left is not None and left < rules.retry_for and _may_pass(error):
                raise TimeoutError(_late(what.name, timeout)) from error
            raise
        body: Json = body_of(answer)
        what.see(body)
        if body["terminal"]:
            return body
        now = rules.clock()
        if end is not None and now >= end:
            raise TimeoutError(_late(what.name, timeout))
        # A server that is about to stop answers at once, and one that does not know `Prefer` too: they are not asked without pause.
        pause = max(0.0, 1.0 - (now - begun))
        yield Sleep(pause if end is None else min(pause, end - now))


def _hold(what: Awaited, left: float | None) -> Request:
    """A request whose answer comes when it has ended, or after `left` seconds."""
    seconds = what.poll if left is None else min(what.poll, int(left))  # the server takes whole seconds
    limit = seconds + (ANSWER if left is None else min(ANSWER, left - seconds + 1.0))
    return Request("GET", what.path, {"Prefer": f"wait={seconds}"} if seconds else {}, limit=limit)


def _may_pass(error: CallError) -> bool:
    return not isinstance(error, ApiError) or error.status in TRY_AGAIN


def _late(name: str, timeout: float | None) -> str:
    return f"{name} has not ended within {timeout:g} s; it goes on"


def refresh(rules: Rules, job: Json, seconds: float) -> Flow[Json]:
    """The job as it is now, or after its next change but at most `seconds` (LONG_POLL at most; 0 = now). Raises ApiError, Unreachable."""
    if not seconds:
        return (yield from get(rules, path_of("jobs", job["id"])))
    job_id, version = job["id"], job["version"]
    asked, begun = min(LONG_POLL, max(1, int(seconds))), rules.clock()
    headers = {"If-None-Match": f'"{version}"', "Prefer": f"wait={asked}"}
    answer = yield from call(rules, Request("GET", path_of("jobs", job_id), headers, limit=asked + ANSWER))
    if answer.status == 304 or body_of(answer).get("version") == version:
        yield Sleep(max(0.0, 1.0 - (rules.clock() - begun)))  # see `await_end`
        return (yield from get(rules, path_of("jobs", job_id)))  # its place in the queue is no change, and has changed
    changed: Json = body_of(answer)
    return changed


def result(rules: Rules, job: Json, accept: str = "") -> Flow[Any]:
    """The output of a job that has succeeded: what the JSON says, or bytes. Raises ApiError (410 when it is not kept), Unreachable.

    Args:
        rules: for how long each call is tried again.
        job: as it was last shown.
        accept: media types that are wanted of an output that has a file of its own, because it is large; "" = any.
    """
    if "output" not in job and not job.get("output_file"):
        # Lists leave it out. It may be a file, of which only the JSON is wanted here: `/result` would lead to its bytes.
        job = yield from get(rules, path_of("jobs", job["id"]))
    if job.get("output") is not None:
        return job["output"]
    answer = yield from call(rules, Request("GET", path_of("jobs", job["id"], "/result"), {"Accept": accept} if accept else {}))
    return body_of(answer) if "json" in answer.headers.get("content-type", "") else answer.content
