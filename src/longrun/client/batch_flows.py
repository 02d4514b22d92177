"""What is asked of a server about batches."""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypedDict
from urllib.parse import quote, urlencode

from longrun.client.body import PIECE, Source, Streamed
from longrun.client.files import Json
from longrun.client.flows import LONG_POLL, body_of, call, call_json, error_of, model_path, to_json, upload
from longrun.client.inputs import Ids, every_file, with_ids
from longrun.client.patience import Rules, Tries
from longrun.client.wire import ANSWER, SILENCE, UPLOAD, Answer, Flow, Give, Lost, Request, Sleep, open_download, read


class BatchOptions(TypedDict, total=False):
    """What a batch may say besides its inputs; it holds for each item."""

    priority: int  #: 0 to 9, 9 the most urgent
    tags: Sequence[str]  #: of the batch and of each item
    metadata: dict[str, Any]  #: given back with the batch and with each item
    policy: dict[str, Any]  #: limits of each item
    webhook: Any  #: who is called when the batch has ended
    #: The same key with the same inputs is the same batch. Without one, every call has a fresh key of its own.
    idempotency_key: str | None


@dataclass(frozen=True, slots=True)
class BatchItem:
    """What became of one input.

    Args:
        index: its place, from 0.
        id: of its job.
        status: as of the job; `gone`: deleted, or expired.
        output: what the model returned.
        error: the problem of an item that did not succeed.
    """

    index: int
    id: str
    status: str
    output: Any = None
    error: Json | None = None

    @property
    def succeeded(self) -> bool:
        """Whether there is an output."""
        return self.status == "succeeded"


class Lines(Streamed):
    """A body of JSON lines, which can be sent again: they are kept on disk when they are many, until it is left."""

    content_type = "application/jsonl"

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=4 * PIECE)  # noqa: SIM115 - closed when this is left
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, line: bytes) -> None:
        """One more line, without its end."""
        self._size += self._file.write(line + b"\n")

    def length(self) -> int:
        """Bytes of it all."""
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(0)
        while piece := self._file.read(PIECE):
            yield piece


def batch_path(batch_id: str, rest: str = "") -> str:
    """Path of a batch, or of what is below it, after `/api/v1`."""
    return f"/batches/{quote(batch_id, safe='')}{rest}"


def line_of(rules: Rules, value: Any) -> Flow[bytes]:
    """The line of an input. Its files are uploaded. Raises ApiError, Unreachable, OSError; TypeError: JSON cannot hold it."""
    ids: Ids = {}
    for file in every_file(value):
        stored = yield from upload(rules, Source.of(file))
        ids = {**ids, id(file): stored["id"]}
    return to_json(with_ids(value, ids))


def submit(rules: Rules, model: str, lines: Lines, options: BatchOptions) -> Flow[Json]:
    """The accepted batch. It always carries a key, so that it may be repeated.

    Raises:
        ApiError, Unreachable
        TypeError: there is no such option.
    """
    unknown = set(options) - BatchOptions.__optional_keys__
    if unknown:
        raise TypeError(f"there is no option {', '.join(sorted(unknown))}; there are {', '.join(sorted(BatchOptions.__optional_keys__))}")
    members = {name: value for name, value in options.items() if name != "idempotency_key" and value is not None}
    query = f"?{urlencode({'options': to_json(members)})}" if members else ""
    headers = {"Idempotency-Key": options.get("idempotency_key") or uuid.uuid4().hex}
    batch: Json = yield from call_json(rules, Request("POST", model_path(model, f"/batches{query}"), headers, lines, limit=UPLOAD))
    return batch


def await_batch(rules: Rules, batch: Json, timeout: float | None, *, changes: bool) -> Flow[Json]:
    """The batch as it ended; with `changes` it gives it whenever it has moved on.

    Raises:
        TimeoutError: it has not ended by then.
        ApiError, Unreachable
    """
    end = None if timeout is None else rules.clock() + timeout
    while not batch["terminal"]:
        begun = rules.clock()
        seconds = LONG_POLL if end is None else max(0, min(LONG_POLL, int(end - begun)))
        headers = {"Prefer": f"wait={seconds}"} if seconds else {}
        if changes:
            headers["If-None-Match"] = f'"{batch["version"]}"'
        answer = yield from call(rules, Request("GET", batch_path(batch["id"]), headers, limit=seconds + ANSWER), end)
        if answer.status != 304:
            batch = body_of(answer)
            if changes:
                yield Give(batch)
        now = rules.clock()
        if not batch["terminal"] and end is not None and now >= end:
            raise TimeoutError(f"batch {batch['id']} has not ended within {timeout:g} s; it goes on")
        # A server that is about to stop answers at once, and many items may end in a moment: it is not asked without pause.
        if not batch["terminal"]:
            pause = max(0.0, 0.5 - (now - begun))
            yield Sleep(pause if end is None else min(pause, max(0.0, end - now)))
    return batch


def results(rules: Rules, batch: Json, *, partial: bool) -> Flow[None]:
    """Give the lines of the results. After a cut it goes on behind the last one that came.

    Raises:
        ApiError, Unreachable
    """
    tries, after, total = Tries(rules), -1, int(batch["counts"]["total"])
    while after + 1 < total:
        query = urlencode({"after": after, **({"partial": "true"} if partial else {})})
        reply = yield from open_download(Request("GET", batch_path(batch["id"], f"/results?{query}"), limit=SILENCE))
        if isinstance(reply, Answer) and reply.is_content:
            before, rest = after, b""
            while True:
                data = yield from read()
                if isinstance(data, Lost):
                    reply = data
                    break
                if not data:
                    reply = Lost("the results ended before the last item")
                    break
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    row = json.loads(line)
                    after = int(row["index"])
                    yield Give(row)
            if after + 1 >= total:
                return
            if after > before:
                tries.alive()
                tries.succeeded()
        pause = tries.pause(reply)
        if pause is None:
            raise error_of(reply, rules.url)
        yield Sleep(pause)


def item_of(row: Mapping[str, Any], output: Any) -> BatchItem:
    """A line of the results as an item, with `output` in the place of its own."""
    return BatchItem(int(row["index"]), str(row["id"]), str(row["status"]), output, row.get("error"))
