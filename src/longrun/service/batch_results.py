"""The results of a batch: a line of JSON for each item, in the order of the inputs, read a hundred at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson

from longrun.clock import item_id
from longrun.jobs.failure import problem_of
from longrun.jobs.record import JobRecord
from longrun.jobs.states import Status
from longrun.jobs.view import job_urls
from longrun.service.parts import Parts
from longrun.service.watch import whole_output
from longrun.store.batches import MOST, BatchRecord
from longrun.store.records import PAGE_BYTES

#: What an item has that never became a job because its batch was canceled before.
_CANCELED = b'{"code":"canceled","detail":"The batch was canceled before the item became a job.","attempt":0}'


async def results(parts: Parts, batch: BatchRecord, base: str, first: int, most: int | None) -> AsyncIterator[bytes]:
    """Lines of the items from `first` on, `most` at most, as they are now; several lines at a time.

    An output that is kept as a file is read when it is its turn: one of them is held.

    Raises:
        StoreUnavailable, BlobsUnavailable: in the middle; what came before is whole.
    """
    end = batch.total if most is None else min(batch.total, first + most)
    while first < end:
        jobs = await parts.store.batches.items(batch.id, batch.tenant, first, min(MOST, end - first), PAGE_BYTES)
        if not jobs:
            break
        held = bytearray()
        for job in jobs:
            if job is not None and job.output_ref is not None and held:
                yield bytes(held)
                held.clear()
            held += await _line(parts, batch, base, first, job)
            first += 1
        yield bytes(held)
    # The rest has not become jobs yet, or never will.
    for start in range(first, end, MOST):
        yield b"".join(_unfed(batch, base, index, debug=parts.settings.expose_errors) for index in range(start, min(start + MOST, end)))


async def _line(parts: Parts, batch: BatchRecord, base: str, index: int, job: JobRecord | None) -> bytes:
    if job is None:
        return _text(batch, index, "gone", {})
    if job.status is Status.SUCCEEDED:
        output = await whole_output(parts, job)
        if output is None:
            return _text(batch, index, "gone", {})
        output = await parts.urls.rendered(output, batch.tenant, base)
        return _text(batch, index, "succeeded", {"output": orjson.Fragment(output)} | ({"partial": True} if job.partial else {}))
    if job.terminal and job.error is not None:
        return _text(batch, index, job.status.value, {"error": _problem(job.error, job.id, base, debug=parts.settings.expose_errors)})
    return _text(batch, index, job.status.value, {})


def _unfed(batch: BatchRecord, base: str, index: int, *, debug: bool) -> bytes:
    if batch.terminal and batch.canceling is None:
        return _text(batch, index, "gone", {})  # the batch has expired meanwhile
    if batch.canceling is None:
        return _text(batch, index, "pending", {})
    return _text(batch, index, "canceled", {"error": _problem(_CANCELED, item_id(batch.id, index), base, debug=debug)})


def _problem(error: bytes, job_id: str, base: str, *, debug: bool) -> dict[str, Any]:
    return problem_of(error, job_urls(job_id, base)["self"], debug=debug)


def _text(batch: BatchRecord, index: int, status: str, more: dict[str, Any]) -> bytes:
    return orjson.dumps({"index": index, "id": item_id(batch.id, index), "status": status, **more}, option=orjson.OPT_APPEND_NEWLINE)
