"""Batches: many inputs in one request, a job for each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from longrun.client.http.body import Lines
from longrun.client.http.retry import Rules, Tries
from longrun.client.http.steps import SILENCE, UPLOAD, Answer, Flow, Give, Json, Lost, Request, read, send
from longrun.client.protocol.calls import call_json, path_of, to_json
from longrun.client.protocol.inputs import all_files, with_ids
from longrun.client.protocol.options import BatchOptions, split_options
from longrun.client.protocol.submit import upload_all


@dataclass(frozen=True, slots=True)
class BatchItem:
    """The result of one input of a batch.

    Args:
        index: its number, from 0.
        id: of its job.
        status: such as `succeeded`; `gone` = its job is no longer kept.
        output: what the model returned; None also when there is none.
        error: the problem of a job that did not succeed.
    """

    index: int
    id: str
    status: str
    output: Any = None
    error: Json | None = None

    @property
    def succeeded(self) -> bool:
        """Whether its job has ended with an output."""
        return self.status == "succeeded"


def line_of(rules: Rules, input: Any) -> Flow[bytes]:
    """An input as a line of JSON; its files are uploaded first, and their ids stand in their place.

    Raises:
        ApiError, Unreachable: an upload failed; there is no batch.
        OSError: a file cannot be read.
        TypeError: the input is nothing that JSON can hold.
    """
    ids = yield from upload_all(rules, all_files(input))
    return to_json({} if input is None else with_ids(input, ids))


def submit_batch(rules: Rules, model: str, lines: Lines, options: BatchOptions) -> Flow[Json]:
    """The accepted batch. It always carries a key, so that it may be repeated.

    Raises:
        ApiError, Unreachable: both say whether the batch may exist.
        TypeError: there is no such option.
    """
    members, headers = split_options(options, BatchOptions.__optional_keys__)
    query = f"?{urlencode({'options': to_json(members)})}" if members else ""
    batch: Json = yield from call_json(rules, Request("POST", path_of("models", model, f"/batches{query}"), headers, lines, limit=UPLOAD))
    return batch


def results(rules: Rules, batch_id: str, total: int, *, partial: bool) -> Flow[None]:
    """Give a `BatchItem` for each input, in their order. When the connection breaks, a new one goes on after the last whole line.

    Args:
        rules: for how long it is tried again after a cut.
        batch_id: of the batch.
        total: how many there are.
        partial: whether it may still be under way.

    Raises:
        ApiError, Unreachable
    """
    tries, after = Tries(rules), -1
    while after + 1 < total:
        reply = yield from send(Request("GET", _results_path(batch_id, after, partial=partial), limit=SILENCE), "content")
        if isinstance(reply, Answer) and reply.status == 200:
            reached, reply = yield from _read_items(after)
            if reached > after:
                after = reached
                tries.alive()
                tries.succeeded()
                continue
        elif isinstance(reply, Answer) and reply.status == 202:
            # The end was seen elsewhere: a replica of the server, or of the store, that is behind.
            reply = Answer(503, reply.headers, reply.content, reply.url)
        yield from tries.wait(reply)


def _results_path(batch_id: str, after: int, *, partial: bool) -> str:
    asked = [*([f"after={after}"] if after >= 0 else []), *(["partial=true"] if partial else [])]
    return path_of("batches", batch_id, f"/results{'?' if asked else ''}{'&'.join(asked)}")


def _read_items(after: int) -> Flow[tuple[int, Lost]]:
    """Give the items of an open answer; returns the last index given, and why no more came."""
    rest = b""
    while True:
        piece = yield from read()
        if isinstance(piece, Lost):
            return after, piece
        if not piece:
            return after, Lost("the results ended before the last one")
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            try:
                item = _item(json.loads(line))
            except (ValueError, KeyError, TypeError):
                return after, Lost("the results hold something that is none")
            if item.index > after:
                after = item.index
                yield Give(item)


def _item(body: Json) -> BatchItem:
    return BatchItem(int(body["index"]), str(body["id"]), str(body["status"]), body.get("output"), body.get("error"))
