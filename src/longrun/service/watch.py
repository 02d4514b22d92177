"""What a job says while it runs: its events, and the output so far."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import orjson
from msgspec import Raw

from longrun import wire
from longrun.blobs.contract import BlobNotFound
from longrun.clock import rfc3339
from longrun.errors import JobGone, JobNotFound, StoreUnavailable, UnknownModel
from longrun.jobs import npy
from longrun.jobs.events import Event, carried
from longrun.jobs.file_refs import FileRef
from longrun.jobs.record import JobRecord
from longrun.jobs.states import TERMINAL, Status
from longrun.service.caller import Caller
from longrun.service.losses import lost_events, lost_job
from longrun.service.read import known_form
from longrun.store.follow import RECONNECTED
from longrun.store.records import PAGE_BYTES, EventPage

PAGE = 500
#: Bytes of events that a reader of a stream holds at a time: there may be very many readers that are slow.
_STREAM_BYTES = 32 * 1024
#: Seconds without a note after which a reader of a stream looks into the store, as notes may be lost, and says that there is nothing.
_IDLE = 10.0
#: Largest output that the `done` event carries.
INLINE_OUTPUT = 64 * 1024
#: Seconds between tries while the store is away and a reader stays connected.
_AWAY = 1.0


async def events(caller: Caller, job_id: str, after: int, *, limit: int = PAGE, most_bytes: int = PAGE_BYTES) -> EventPage:
    """Up to `limit` events with a seq over `after`, as callers see them.

    One event is given even if it has more than `most_bytes`.

    Raises:
        JobNotFound, JobGone
        EventsLost: the log does not reach as far as `after`, and the store is known to have lost something since the job was accepted.
    """
    page = await caller.store.records.events(known_form(job_id), caller.tenant, after, limit, most_bytes)
    loss = caller.store.losses.latest
    if after > page.latest and loss is not None and page.created <= loss.end:
        raise lost_events(job_id, after, loss)
    shown = await _shown(caller, page.events)
    return replace(page, events=[await _render(caller, job_id, event) for event in shown])


async def follow(caller: Caller, job_id: str, after: int) -> AsyncGenerator[Sequence[Event], None]:
    """Every event with a seq over `after`, in pieces as they come, until the job has ended or is gone, or this process is about to stop.

    An empty piece comes when there was nothing for 10 s. A store that is away does not end it: the events come when the store is back.
    It may be back without what it had confirmed; what follows then does not belong to what the reader has.

    Who reads along gets small events straight from their announcement, without a look into the store; who is slower reads the log at
    its own pace, and holds no more than a piece of it at a time.

    Raises:
        JobLost: the store has lost the job.
        EventsLost: it has lost events that the reader has.
    """
    follower = caller.store.follower
    log = _Log(caller, job_id)
    async with follower.listen(caller.store.job_channel(job_id)) as listener:
        while not follower.dismissed:
            try:
                page = await log.read(after)
            except StoreUnavailable:
                log.doubt = True
                yield ()
                await listener.wait(_AWAY)
                continue
            except JobGone:
                return
            if page.events:
                after = page.events[-1].seq
            yield page.events
            if after < page.latest:
                continue
            if page.status in TERMINAL:
                return
            while not follower.dismissed:
                notes = await listener.wait(_IDLE)
                log.doubt |= RECONNECTED in notes
                fresh, in_step = next_events(notes, after)
                if fresh:
                    after = fresh[-1].seq
                    log.given(fresh)
                    yield await _shown(caller, fresh)
                if not in_step:
                    break


class _Log:
    """A job's log as one reader comes to know it.

    Attributes:
        doubt: the store was away since the last look: it may be back with another history, in which these seqs are other events.
    """

    __slots__ = ("_caller", "_job_id", "_last", "_reached", "doubt")

    def __init__(self, caller: Caller, job_id: str) -> None:
        self._caller, self._job_id = caller, job_id
        self._reached = 0
        self._last: Event | None = None  # without its data, which may be large, and readers many
        self.doubt = False

    def given(self, piece: Sequence[Event]) -> None:
        """The reader gets these."""
        if piece:
            self._last = replace(piece[-1], data=b"")
            self._reached = max(self._reached, self._last.seq)

    async def read(self, after: int) -> EventPage:
        """The next page. Raises JobGone, JobLost, EventsLost."""
        again = self._last if self.doubt and self._last is not None and self._last.type != "gap" else None
        try:
            page = await events(self._caller, self._job_id, after if again is None else after - 1, most_bytes=_STREAM_BYTES)
        except JobNotFound:
            raise lost_job(self._job_id, self._caller.store.losses.latest) from None
        if page.latest < self._reached or (again is not None and not _goes_on(again, page.events)):
            raise lost_events(self._job_id, after, self._caller.store.losses.latest)
        if again is not None:
            page = replace(page, events=[event for event in page.events if event.seq > after])
        self.doubt, self._reached = False, max(self._reached, page.latest)
        self.given(page.events)
        return page


def _goes_on(last: Event, read_again: Sequence[Event]) -> bool:
    """Whether the event that a reader got last is still that event; one that is no longer kept may be."""
    found = read_again[0] if read_again else None
    if found is None or found.type == "gap":
        return found is not None
    return (found.seq, found.attempt, found.at, found.type) == (last.seq, last.attempt, last.at, last.type)


def next_events(notes: Sequence[bytes], after: int) -> tuple[list[Event], bool]:
    """The events with a seq over `after` that the notes bring, and whether that is all there is; otherwise the store is to be asked.

    It is to be asked when no note came at all (one may be lost), when one brings no events, and when some before them are missing.
    """
    fresh: list[Event] = []
    for note in notes:
        brought = carried(note)
        if not brought or brought[0].seq > after + 1:
            return fresh, False
        news = [event for event in brought if event.seq > after]
        after += len(news)
        fresh += news
    return fresh, bool(notes)


async def _render(caller: Caller, job_id: str, event: Event) -> Event:
    if event.type == "done":
        try:
            job = await caller.store.records.read(job_id, caller.tenant)
        except JobGone:
            return event
        return replace(event, data=done_data(await caller.urls.job(job, caller.base), caller.base, debug=caller.debug))
    if event.type == "retrying":
        return replace(event, data=retrying_data(event.data, wire.JobUrls.of(job_id, caller.base).self, debug=caller.debug))
    return event


async def _shown(caller: Caller, events: list[Event]) -> list[Event]:
    """Events as they are announced, with what callers see in place of what is stored."""
    shown = await caller.urls.events(events, caller.tenant, caller.base)
    return [replace(event, data=waiting_data(event.data)) if event.type == "waiting" else event for event in shown]


def done_data(job: JobRecord, base: str, *, debug: bool = False) -> bytes:
    """The `done` event's data: the job, without an output of more than 64 KB."""
    small = job.output is None or len(job.output) <= INLINE_OUTPUT
    return wire.encode(wire.Job.of(job, base, with_output=small, debug=debug))


def retrying_data(stored: bytes, instance: str, *, debug: bool = False) -> bytes:
    """The `retrying` event's data for callers: the reason as a problem, the time as RFC 3339."""
    members: dict[str, Any] = orjson.loads(stored)
    reason = wire.JobProblem.of(members["reason"], instance, debug=debug)
    return wire.encode({"reason": reason, "next_attempt_at": rfc3339(int(members["next_attempt_at"]))})


def waiting_data(stored: bytes) -> bytes:
    """The `waiting` event's data for callers: the time as RFC 3339."""
    members: dict[str, Any] = orjson.loads(stored)
    until = members.get("until")
    return orjson.dumps(members | {"until": None if until is None else rfc3339(int(until))})


async def output_so_far(caller: Caller, job_id: str) -> tuple[wire.OutputSoFar, FileRef | None]:
    """The output of a job that succeeded, otherwise what the current attempt has yielded.

    Also the file where the output is an array that is kept in .npy format: then the answer has null in its place.

    Raises:
        JobNotFound, JobGone, BlobsUnavailable
    """
    job = await caller.store.records.read(known_form(job_id), caller.tenant)
    array, truncated, complete = None, False, job.status is Status.SUCCEEDED
    if not complete:
        output, truncated = await _yielded(caller, job)
    elif (array := kept_array(job)) is not None:
        output = b"null"
    else:
        output = await whole_output(caller, job) or b"null"
    shown = Raw(await caller.urls.rendered(output, caller.tenant, caller.base))
    return wire.OutputSoFar(job.attempt, job.status, complete, truncated, shown), array


async def _yielded(caller: Caller, job: JobRecord) -> tuple[bytes, bool]:
    """What the current attempt has yielded, and whether its beginning is not kept, as the log is limited."""
    values: list[bytes] = []
    truncated, after = False, 1
    while True:
        page = await caller.store.records.events(job.id, caller.tenant, after, PAGE)
        truncated = page.cut == job.attempt
        values += [_value(event.data) for event in page.events if event.type == "output" and event.attempt == job.attempt]
        if not page.events:
            break
        after = page.events[-1].seq
    return joined(values, text=_is_text(caller, job.model)), truncated


async def whole_output(caller: Caller, job: JobRecord) -> bytes | None:
    """The output as JSON, also one that is kept as a file. Raises BlobsUnavailable."""
    if job.output_ref is None:
        return job.output
    try:
        output = await caller.blobs.read(job.output_ref.key, caller.settings.max_output)
    except BlobNotFound:
        return None  # it has just expired
    return await asyncio.to_thread(lambda: b"".join(npy.to_json([output]))) if npy.is_npy(output) else output


def kept_array(job: JobRecord) -> FileRef | None:
    """Where the output is, if that is an array in .npy format."""
    ref = job.output_ref
    return ref if ref is not None and ref.content_type == npy.MEDIA_TYPE else None


async def array_text(caller: Caller, ref: FileRef, before: bytes = b"", after: bytes = b"") -> AsyncGenerator[bytes, None]:
    """The JSON text of an array that is kept in .npy format, between two other pieces. A piece of it is held at a time.

    Raises:
        BlobNotFound: before the first piece of the array.
        BlobsUnavailable
    """
    yield before
    renderer = npy.Renderer()
    pieces: Any = await caller.blobs.get(ref.key)
    async with aclosing(pieces):
        async for piece in pieces:
            yield await asyncio.to_thread(lambda data: b"".join(renderer.feed(data)), piece)
    renderer.close()
    yield after


def _is_text(caller: Caller, model: str) -> bool | None:
    try:
        spec = caller.models.get(model)
    except UnknownModel:
        return None
    return spec.output.is_text_stream if spec.streams else None


def _value(data: bytes) -> bytes:
    # Worker and store write `{"value":…}`; what stands inside is passed on as it is, so that large integers stay exact.
    return data[9:-1] if data.startswith(b'{"value":') else orjson.dumps(orjson.loads(data).get("value"))


def joined(values: list[bytes], *, text: bool | None) -> bytes:
    """Yielded values (JSON each) as one: a string for text streams, otherwise a list.

    Args:
        values: in order.
        text: whether the model yields text; None = not known, then strings are joined and no values at all are null.
    """
    if text is None:
        if not values:
            return b"null"
        text = all(value.startswith(b'"') for value in values)
    if text:
        return orjson.dumps("".join(orjson.loads(value) for value in values))
    return b"[" + b",".join(values) + b"]"
