"""What the client does, step by step, apart from how bytes travel: calls with retries, submitting, waiting, listing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from longrun.client.body import Multipart, Part, Source
from longrun.client.inputs import Ids, form_parts, has_files, hidden_files, with_ids
from longrun.client.patience import TRY_AGAIN, Rules, Tries
from longrun.client.snapshot import Options
from longrun.client.wire import ANSWER, UPLOAD, Answer, Flow, Give, Json, Lost, Request, Sleep, send
from longrun.errors import ApiError, CallError, Unreachable

LONG_POLL = 20  #: seconds that the server may hold an answer back: less than what proxies allow
_PAGE = 100  #: jobs that the server gives at once, at most


def job_path(job_id: str, rest: str = "") -> str:
    """Path of a job, or of what is below it, after `/api/v1`."""
    return f"/jobs/{quote(job_id, safe='')}{rest}"


def model_path(model: str, rest: str = "") -> str:
    """Path of a model, or of what is below it, after `/api/v1`."""
    return f"/models/{quote(model, safe='')}{rest}"


def ask(method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Request:
    """A request with a JSON body (None = without one)."""
    if body is None:
        return Request(method, path, headers or {})
    return Request(method, path, {"Content-Type": "application/json", **(headers or {})}, to_json(body))


def to_json(value: Any) -> bytes:
    """JSON text; what has `model_dump`, as pydantic's models do, is dumped first. Raises TypeError for what JSON cannot hold."""

    def dump(each: Any) -> Any:
        if hasattr(each, "model_dump"):
            return each.model_dump(mode="json", exclude_unset=True)
        if isinstance(each, Mapping):
            return dict(each)
        raise TypeError(f"{type(each).__name__} is no JSON value")

    return json.dumps(value, default=dump).encode()


def error_of(reply: Answer | Lost, url: str) -> CallError:
    """The exception for a call that had no success."""
    if isinstance(reply, Lost):
        return Unreachable(url, reply.reason)
    try:
        found = reply.json()
    except ValueError:
        found = None
    problem = found if isinstance(found, dict) and "code" in found else {}
    return ApiError(reply.status, problem, url=reply.url, text=reply.content[:200].decode("utf-8", errors="replace"))


def call(rules: Rules, request: Request, until: float | None = None) -> Flow[Answer]:
    """One request, tried again while the server is away or too busy; the answer is 2xx or 304.

    Args:
        rules: for how long.
        request: what to ask.
        until: no try begins after that, by the rules' clock.

    Raises:
        ApiError, Unreachable
    """
    tries = Tries(rules, until)
    while True:
        reply = yield from send(request)
        if isinstance(reply, Answer) and (200 <= reply.status < 300 or reply.status == 304):
            return reply
        pause = tries.pause(reply)
        if pause is None:
            error = error_of(reply, rules.url)
            if key := request.headers.get("Idempotency-Key", ""):
                # A refusal such as 422 is final: an earlier try with the same body was refused as well.
                error.idempotency_key, error.may_exist = key, tries.doubtful and not (isinstance(reply, Answer) and reply.status < 500)
            raise error
        yield Sleep(pause)


def call_json(rules: Rules, request: Request) -> Flow[Any]:
    """The JSON of an answer; None when it has no body. Raises ApiError, Unreachable."""
    answer = yield from call(rules, request)
    return body_of(answer)


def body_of(answer: Answer) -> Any:
    """The JSON of an answer; None when it has no body. Raises ApiError for something else, such as the page of a proxy."""
    if not answer.content:
        return None
    try:
        return answer.json()
    except ValueError:
        raise ApiError(answer.status, {}, url=answer.url, text=answer.content[:200].decode("utf-8", errors="replace")) from None


def said(options: Mapping[str, Any], known: frozenset[str]) -> tuple[Json, dict[str, str]]:
    """What the options of a submit become: members of its JSON, and the header with its key, a fresh one if none is given.

    Raises:
        TypeError: an option is none of the known ones.
    """
    unknown = set(options) - known
    if unknown:
        raise TypeError(f"there is no option {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    members = {name: value for name, value in options.items() if name != "idempotency_key" and value is not None}
    return members, {"Idempotency-Key": options.get("idempotency_key") or uuid.uuid4().hex}


def submission(model: str, input: Any, options: Options) -> Request:
    """The request that submits a job: a form if fields are files, else JSON.

    It always carries a key, a fresh one if none is given, so that it may be repeated.

    Raises:
        TypeError: there is no such option, or the input is nothing that JSON can hold.
    """
    members, headers = said(options, Options.__optional_keys__)
    path = model_path(model, "/jobs")
    if has_files(input):
        asked = [Part("_options", to_json(members))] if members else []
        return Request("POST", path, headers, Multipart([*asked, *form_parts(input, to_json)]), limit=UPLOAD)
    return ask("POST", path, {"input": {} if input is None else input, **members}, headers)


def submit(rules: Rules, model: str, input: Any, options: Options) -> Flow[Json]:
    """The accepted job. Files that a form has no place for are uploaded first.

    Raises:
        ApiError, Unreachable: both say whether the job may exist.
        OSError: a file cannot be read.
        TypeError: see `submission`.
    """
    ids: Ids = {}
    for file in hidden_files(input):
        stored = yield from upload(rules, Source.of(file))
        ids = {**ids, id(file): stored["id"]}
    job: Json = yield from call_json(rules, submission(model, with_ids(input, ids), options))
    return job


def upload(rules: Rules, source: Source) -> Flow[Json]:
    """Store a file; a try whose answer was lost may have stored it too. Raises ApiError, Unreachable, OSError."""
    stored: Json = yield from call_json(rules, Request("POST", "/files", {}, Multipart([Part("file", source)]), limit=UPLOAD))
    return stored


def get_job(rules: Rules, job_id: str) -> Flow[Json]:
    """The job as it is now. Raises ApiError, Unreachable."""
    job: Json = yield from call_json(rules, Request("GET", job_path(job_id)))
    return job


def await_end(rules: Rules, job_id: str, timeout: float | None) -> Flow[Json]:
    """The job as it ended.

    Args:
        rules: how patient.
        job_id: of the job.
        timeout: seconds to wait; None = as long as it takes.

    Raises:
        TimeoutError: it has not ended by then, as far as could be found out.
        ApiError, Unreachable
    """
    job = yield from await_ended(rules, Awaited(job_path(job_id), f"job {job_id}"), timeout)
    return job


@dataclass(frozen=True, slots=True)
class Awaited:
    """Something whose end is waited for.

    Args:
        path: where it is read, after `/api/v1`.
        name: for messages.
        poll: seconds that the server may hold an answer back.
        see: told what each answer says, the last one too.
    """

    path: str
    name: str
    poll: int = LONG_POLL
    see: Callable[[Json], object] = lambda _: None


def await_ended(rules: Rules, what: Awaited, timeout: float | None) -> Flow[Json]:
    """It as it ended. Arguments and errors as with `await_end`."""
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
    """Ask for it, the answer to come when it has ended; at the latest when `left` seconds are over."""
    seconds = what.poll if left is None else min(what.poll, int(left))  # the server takes whole seconds
    limit = seconds + (ANSWER if left is None else min(ANSWER, left - seconds + 1.0))
    return Request("GET", what.path, {"Prefer": f"wait={seconds}"} if seconds else {}, limit=limit)


def _may_pass(error: CallError) -> bool:
    return not isinstance(error, ApiError) or error.status in TRY_AGAIN


def _late(name: str, timeout: float | None) -> str:
    return f"{name} has not ended within {timeout:g} s; it goes on"


def await_change(rules: Rules, job_id: str, version: int, seconds: float) -> Flow[Json]:
    """The job after its next change from `version`, or after `seconds` (whole ones; LONG_POLL at most). Raises ApiError, Unreachable."""
    asked, begun = min(LONG_POLL, max(1, int(seconds))), rules.clock()
    headers = {"If-None-Match": f'"{version}"', "Prefer": f"wait={asked}"}
    answer = yield from call(rules, Request("GET", job_path(job_id), headers, limit=asked + ANSWER))
    if answer.status == 304 or body_of(answer).get("version") == version:
        yield Sleep(max(0.0, 1.0 - (rules.clock() - begun)))  # see `await_end`
        answer = yield from call(rules, Request("GET", job_path(job_id)))  # its place in the queue is no change, and has changed
    job: Json = body_of(answer)
    return job


def result(rules: Rules, job: Json, accept: str = "") -> Flow[Any]:
    """The output of a job that has succeeded: what the JSON says, or bytes.

    Args:
        rules: how patient.
        job: as it was last shown.
        accept: media types that are wanted, of an output that is too large for the record; "" = any.

    Raises:
        ApiError: 410 when it is not kept.
        Unreachable
    """
    if "output" not in job and not job.get("output_file"):
        # Lists leave it out. It may be a file, of which only the JSON is wanted here: `/result` would lead to its bytes.
        job = yield from get_job(rules, job["id"])
    if job.get("output") is not None:
        return job["output"]
    answer = yield from call(rules, Request("GET", job_path(job["id"], "/result"), {"Accept": accept} if accept else {}))
    return body_of(answer) if "json" in answer.headers.get("content-type", "") else answer.content


def delete(rules: Rules, path: str) -> Flow[None]:
    """Erase an ended job, or a file. Raises ApiError, Unreachable."""
    tries = Tries(rules)
    while True:
        reply = yield from send(Request("DELETE", path))
        # Gone after a try whose answer was lost: that was us.
        if isinstance(reply, Answer) and (reply.status < 300 or (reply.status == 410 and tries.doubtful)):
            return
        pause = tries.pause(reply)
        if pause is None:
            raise error_of(reply, rules.url)
        yield Sleep(pause)


def listing(rules: Rules, where: str, filters: Mapping[str, str | None], limit: int | None) -> Flow[None]:
    """Give the jobs of a listing, page by page.

    Args:
        rules: how patient.
        where: `/jobs` or `/dead-letters`.
        filters: query parameters; None = no such filter.
        limit: how many at most; None = all.

    Raises:
        ApiError, Unreachable
    """
    chosen = {name: value for name, value in filters.items() if value is not None}
    left = _PAGE if limit is None else limit
    path: str | None = f"{where}?{urlencode({**chosen, 'limit': min(left, _PAGE)})}"
    while path is not None and left > 0:
        page = yield from call_json(rules, Request("GET", path))
        for job in page["jobs"][: None if limit is None else left]:
            yield Give(job)
        left -= 0 if limit is None else len(page["jobs"])
        path = f"{where}?{urlsplit(page['next']).query}" if page.get("next") else None
