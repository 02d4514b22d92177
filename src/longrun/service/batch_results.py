"""The results of a batch: a line of JSON for each item, in the order of the inputs, read a hundred at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from msgspec import UNSET, Raw

from longrun import wire
from longrun.clock import item_id
from longrun.jobs.record import JobRecord
from longrun.jobs.states import Status
from longrun.service.caller import Caller
from longrun.service.losses import lost_batch
from longrun.service.watch import whole_output
from longrun.store.batches import MOST, BatchRecord
from longrun.store.records import PAGE_BYTES

#: What an item has that never became a job because its batch was canceled before.
_CANCELED = b'{"code":"canceled","detail":"The batch was canceled before the item became a job.","attempt":0}'


async def results(caller: Caller, batch: BatchRecord, first: int, most: int | None) -> AsyncIterator[bytes]:
    """Lines of the items from `first` on, `most` at most, as they are now; several lines at a time.

    An output that is kept as a file is read when it is its turn: one of them is held.

    Raises:
        StoreUnavailable, BlobsUnavailable, BatchLost: in the middle; what came before is whole.
    """
    end = batch.total if most is None else min(batch.total, first + most)
    while first < end:
        jobs = await caller.store.batches.items(batch.id, batch.tenant, first, min(MOST, end - first), PAGE_BYTES)
        if not jobs:
            if first < batch.fed:
                # These items were jobs when the request began.
                raise lost_batch(batch.id, caller.store.losses.latest)
            break
        held = bytearray()
        for job in jobs:
            if job is not None and job.output_ref is not None and held:
                yield bytes(held)
                held.clear()
            held += await _line(caller, batch, first, job)
            first += 1
        yield bytes(held)
    # The rest has not become jobs yet, or never will.
    for start in range(first, end, MOST):
        yield b"".join(_unfed(caller, batch, index) for index in range(start, min(start + MOST, end)))


async def _line(caller: Caller, batch: BatchRecord, index: int, job: JobRecord | None) -> bytes:
    if job is None:
        return _text(batch, index, "gone")
    if job.status is Status.SUCCEEDED:
        output = await whole_output(caller, job)
        if output is None:
            return _text(batch, index, "gone")
        output = await caller.urls.rendered(output, batch.tenant, caller.base)
        return _text(batch, index, "succeeded", output=Raw(output), partial=True if job.partial else UNSET)
    if job.terminal and job.error is not None:
        return _text(batch, index, job.status.value, error=_problem(caller, job.error, job.id))
    return _text(batch, index, job.status.value)


def _unfed(caller: Caller, batch: BatchRecord, index: int) -> bytes:
    if batch.terminal and batch.canceling is None:
        return _text(batch, index, "gone")  # the batch has expired meanwhile
    if batch.canceling is None:
        return _text(batch, index, "pending")
    return _text(batch, index, "canceled", error=_problem(caller, _CANCELED, item_id(batch.id, index)))


def _problem(caller: Caller, error: bytes, job_id: str) -> wire.JobProblem:
    return wire.JobProblem.of(error, wire.JobUrls.of(job_id, caller.base).self, debug=caller.debug)


def _text(batch: BatchRecord, index: int, status: str, **more: Any) -> bytes:
    return wire.encode(wire.BatchResult(index, item_id(batch.id, index), status, **more)) + b"\n"
