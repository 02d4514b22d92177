"""Submitting a job, and uploading files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from longrun.client.http.body import Multipart, Part, Source
from longrun.client.http.retry import Rules
from longrun.client.http.steps import UPLOAD, Flow, Json, Request
from longrun.client.protocol.calls import ask, call_json, path_of, to_json
from longrun.client.protocol.inputs import Ids, form_parts, has_files, hidden_files, with_ids
from longrun.client.protocol.options import Options, split_options


def submission(model: str, input: Any, options: Options) -> Request:
    """The request that submits a job: a form if fields are files, else JSON.

    It always carries a key, a fresh one if none is given, so that it may be repeated.

    Raises:
        TypeError: there is no such option, or the input is nothing that JSON can hold.
    """
    members, headers = split_options(options, Options.__optional_keys__)
    path = path_of("models", model, "/jobs")
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
    ids = yield from upload_all(rules, hidden_files(input))
    job: Json = yield from call_json(rules, submission(model, with_ids(input, ids), options))
    return job


def upload_all(rules: Rules, files: Iterable[Any]) -> Flow[Ids]:
    """Store files, one after the other; their ids. Raises ApiError, Unreachable, OSError."""
    ids = {}
    for file in files:
        stored = yield from upload(rules, Source.of(file))
        ids[id(file)] = str(stored["id"])
    return ids


def upload(rules: Rules, source: Source) -> Flow[Json]:
    """Store a file; a try whose answer was lost may have stored it too. Raises ApiError, Unreachable, OSError."""
    stored: Json = yield from call_json(rules, Request("POST", "/files", {}, Multipart([Part("file", source)]), limit=UPLOAD))
    return stored
