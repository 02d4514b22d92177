"""Batches: many inputs in one request, a job for each. What is asked, step by step; see `flows`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from longrun.client.body import Lines, Source
from longrun.client.flows import LONG_POLL, Awaited, call_json, error_of, model_path, said, to_json, upload
from longrun.client.inputs import Ids, all_files, with_ids
from longrun.client.mapping import Bar
from longrun.client.patience import Rules, Tries
from longrun.client.snapshot import BatchOptions, Record
from longrun.client.wire import SILENCE, UPLOAD, Answer, Flow, Give, Json, Lost, Request, Sleep, open_download, read

_BAR_POLL = 2  #: seconds between two looks while somebody watches a bar


@dataclass(frozen=True, slots=True)
class BatchItem:
    """What has come of one input.

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


class BatchSnapshot(Record):
    """A batch as the server last showed it. `refresh()` asks again."""

    @property
    def counts(self) -> dict[str, int]:
        """How many of its jobs: `total`, `pending`, `succeeded`, `failed`, `canceled`, `expired`."""
        return dict(self.body["counts"])

    @property
    def progress(self) -> float:
        """How much of it has ended, 0 to 1."""
        return float(self.body["progress"])

    def awaited(self, bar: Bar) -> Awaited:
        """Its end, to be waited for; what is seen on the way is taken over and shown on `bar`."""

        def see(body: Json) -> None:
            self.body = body
            done = self.counts["total"] - self.counts["pending"]
            bar.reach(done, done - self.counts["succeeded"])

        return Awaited(batch_path(self.id), f"batch {self.id}", _BAR_POLL if bar.shown else LONG_POLL, see)


def batch_path(batch_id: str, rest: str = "") -> str:
    """Path of a batch, or of what is below it, after `/api/v1`."""
    return f"/batches/{quote(batch_id, safe='')}{rest}"


def line_of(rules: Rules, input: Any) -> Flow[bytes]:
    """An input as a line of JSON; its files are uploaded first, and their ids stand in their place.

    Raises:
        ApiError, Unreachable: an upload failed; there is no batch.
        OSError: a file cannot be read.
        TypeError: the input is nothing that JSON can hold.
    """
    ids: Ids = {}
    for file in all_files(input):
        stored = yield from upload(rules, Source.of(file))
        ids = {**ids, id(file): stored["id"]}
    return to_json({} if input is None else with_ids(input, ids))


def submit_batch(rules: Rules, model: str, lines: Lines, options: BatchOptions) -> Flow[Json]:
    """The accepted batch. It always carries a key, so that it may be repeated.

    Raises:
        ApiError, Unreachable: both say whether the batch may exist.
        TypeError: there is no such option.
    """
    members, headers = said(options, BatchOptions.__optional_keys__)
    query = f"?{urlencode({'options': to_json(members)})}" if members else ""
    batch: Json = yield from call_json(rules, Request("POST", model_path(model, f"/batches{query}"), headers, lines, limit=UPLOAD))
    return batch


def get_batch(rules: Rules, batch_id: str) -> Flow[Json]:
    """The batch as it is now. Raises ApiError, Unreachable."""
    batch: Json = yield from call_json(rules, Request("GET", batch_path(batch_id)))
    return batch


def results(rules: Rules, batch_id: str, total: int, *, partial: bool) -> Flow[None]:
    """Give a `BatchItem` for each input, in their order. After a cut it goes on behind the last whole line.

    Args:
        rules: how patient.
        batch_id: of the batch.
        total: how many there are.
        partial: whether it may still be under way.

    Raises:
        ApiError, Unreachable
    """
    tries, after = Tries(rules), -1
    while after + 1 < total:
        reply = yield from open_download(Request("GET", _results_path(batch_id, after, partial=partial), limit=SILENCE))
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
        pause = tries.pause(reply)
        if pause is None:
            raise error_of(reply, rules.url)
        yield Sleep(pause)


def _results_path(batch_id: str, after: int, *, partial: bool) -> str:
    asked = [*([f"after={after}"] if after >= 0 else []), *(["partial=true"] if partial else [])]
    return batch_path(batch_id, f"/results{'?' if asked else ''}{'&'.join(asked)}")


def _read_items(after: int) -> Flow[tuple[int, Lost]]:
    """Give the items of an open answer; how far that went, and why it went no further."""
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
