"""The verbs of callers: submit, read, list, cancel, delete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import orjson

from longrun.errors import NotARoot, NotFinished, NotRetryable, ValidationFailed
from longrun.jobs.events import Event, decode, gap
from longrun.jobs.file_refs import FileRef
from longrun.jobs.record import AttemptRecord, JobRecord
from longrun.jobs.states import Status, status_of
from longrun.settings import Settings
from longrun.store.connection import Connection, Cursor, cursor_after, given
from longrun.store.file_records import MOST_FILES
from longrun.store.kinds import JOB

#: Bytes of events that one read of a log takes at most: a reader costs bounded memory, whatever the events' size.
PAGE_BYTES = 256 * 1024
#: Connections between two marks of which the latest job is kept.
_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class NewJob:
    """What `submit` stores. `input`, `policy`, `tags`, `metadata` and `hook` (the webhook) are JSON."""

    id: str
    tenant: str
    model: str
    queue: str
    priority: int
    input: bytes
    policy: bytes
    delay: float = 0.0  #: seconds
    idempotency_key: str = ""
    fingerprint: str = ""
    tags: bytes | None = None
    metadata: bytes | None = None
    hook: bytes | None = None
    files: tuple[FileRef, ...] = ()  #: input files; an input that is kept as a file is one too


@dataclass(frozen=True, slots=True)
class Accepted:
    """Answer to `submit`."""

    outcome: Literal["new", "replay", "reused", "full", "nofile"]
    id: str  #: of the job that the key is bound to, for `replay` and `reused`; of the file that is not there, for `nofile`
    position: int = 0  #: place in its lane, 1 = next; 0 = it does not wait there (delayed, or taken already)
    created: int = 0  #: milliseconds of the server's clock, for `new`


@dataclass(frozen=True, slots=True)
class Page:
    """One piece of a listing. `cursor` is None when nothing older is left."""

    jobs: list[JobRecord] = field(default_factory=list)
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True)
class EventPage:
    """A piece of a job's log. Where it is not whole any longer, a `gap` event stands for what is missing.

    Args:
        latest: seq of the newest event there is.
        cut: the latest attempt of which an `output` event is missing; 0 = none.
    """

    status: Status
    attempt: int
    latest: int
    created: int
    cut: int
    events: list[Event]


@dataclass(frozen=True, slots=True)
class LaneDepth:
    """Waiting jobs of one lane."""

    queue: str
    model: str
    by_priority: dict[int, int]
    oldest_s: float | None


class Records:
    """See the module.

    Attributes:
        newest: id of the latest job that was accepted here over each of the latest few connections (by `Connection.made`), until
            `Losses.mark` has seen that it is there.
    """

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._run, self._command, self._prefix = connection.run, connection.command, settings.prefix
        self._connection = connection
        self._max_queued, self._tombstone = settings.max_queued, int(settings.tombstone * 1000)
        self.newest: dict[int, str] = {}

    async def submit(self, job: NewJob) -> Accepted:
        """Accept a job, or find the one its idempotency key is bound to.

        A file that is not there, is gone or is another tenant's keeps it from being stored: `nofile`.

        Raises:
            ValidationFailed: more than `MOST_FILES` files.
        """
        if len(job.files) > MOST_FILES:
            raise ValidationFailed(f"A job may have {MOST_FILES:,} files at most.")
        files = orjson.dumps({ref.id: ref.members() for ref in job.files}) if job.files else None
        more = given(tags=job.tags, metadata=job.metadata, hook=job.hook, files=files)
        ids = " ".join(ref.id for ref in job.files)
        reply = await self._run(
            "submit", job.id, job.tenant, job.model, job.queue, job.priority, job.input, job.policy, int(job.delay * 1000),
            self._max_queued, job.idempotency_key, job.fingerprint, ids, *more,
        )  # fmt: skip
        outcome = reply[0].decode()
        if outcome == "new":
            self.newest[self._connection.made] = job.id
            if len(self.newest) > _CONNECTIONS:
                del self.newest[min(self.newest)]
            return Accepted("new", job.id, reply[1], int(reply[2]))
        return Accepted(outcome, job.id if outcome == "full" else reply[1].decode())

    async def bound(self, tenant: str, idempotency_key: str) -> tuple[str, str, dict[str, FileRef]] | None:
        """The job that a key is bound to, the fingerprint, and the job's input files by id; None: the key is free."""
        held = await self._command("GET", f"{self._prefix}idem:{tenant}:{idempotency_key}")
        if held is None:
            return None
        job_id, _, fingerprint = held.decode().partition(" ")
        files = orjson.loads(await self._command("HGET", f"{self._prefix}job:{job_id}", "files") or b"{}")
        return job_id, fingerprint, {file_id: FileRef.of(members) for file_id, members in files.items()}

    async def resubmit(self, job_id: str, tenant: str, new_id: str) -> str:
        """Make a new job from an ended one; returns its id, the same one however often it is asked.

        Raises:
            JobNotFound, JobGone, NotRetryable
            NotARoot: it is a step of another job.
        """
        outcome, made = JOB.found(job_id, await self._run("resubmit", job_id, tenant, new_id))
        if outcome == b"new":
            return str(made.decode())
        if outcome == b"child":
            raise not_a_root(job_id, made.decode(), "retry")
        raise NotRetryable(f"Job {job_id} is {made.decode()}; only a failed, canceled or expired job can be retried.")

    async def read(self, job_id: str, tenant: str, *, most_output: int | None = None) -> JobRecord:
        """The record; without its output when that has more than `most_output` bytes.

        Raises:
            JobNotFound: unknown, or another tenant's.
            JobGone: deleted or expired.
        """
        position, values = JOB.found(job_id, await self._run("read", job_id, tenant, "" if most_output is None else most_output))
        return JobRecord.from_fields(job_id, values, position or None)

    async def owner(self, job_id: str) -> str:
        """The tenant of a job, also of one that is gone; empty: there is no such job."""
        return (await self._command("HGET", f"{self._prefix}job:{job_id}", "tenant") or b"").decode()

    async def list(
        self,
        tenant: str,
        *,
        cursor: Cursor | None,
        look_at: int,
        since: int,
        filters: Sequence[tuple[str, str]],
        index: str = "idx",
    ) -> Page:
        """Look at up to `look_at` (<= 100) jobs below `cursor`, newest first; return those that fit all `filters`.

        Filters are pairs of `model`, `status` or `tag` and a value; a tag is JSON text. `index` is `idx`, or `dead` for dead letters.
        """
        flat = [text for pair in filters for text in pair]
        looked, score, last, *rows = await self._run("list", index, tenant, *(cursor or ("", "")), look_at, since, *flat)
        jobs = [JobRecord.from_fields(rows[i].decode(), rows[i + 1]) for i in range(0, len(rows), 2)]
        return Page(jobs, cursor_after(looked, look_at, score, last))

    async def dead(self, tenant: str) -> int:
        """How many dead letters the tenant has."""
        return int(await self._command("ZCARD", f"{self._prefix}dead:{tenant}"))

    async def attempts(self, job_id: str, tenant: str) -> Sequence[AttemptRecord]:
        """The job's attempts, oldest first, the latest hundred at most. Those that only waited, one after the other, are one.

        Raises as `read` does.
        """
        _, *rows = JOB.found(job_id, await self._run("attempts", job_id, tenant))
        pieces = [rows[at : at + 4] for at in range(0, len(rows), 4)]
        return [AttemptRecord.from_fields(n, begun, ended or None, usage or None) for n, begun, ended, usage in reversed(pieces)]

    async def events(self, job_id: str, tenant: str, after: int, limit: int, most_bytes: int = PAGE_BYTES) -> EventPage:
        """Up to `limit` events with a seq over `after`, `most_bytes` at most unless the first one alone is larger.

        Event 1 (`queued`) is rendered from the record. Raises as `read` does.
        """
        reply = JOB.found(job_id, await self._run("events", job_id, tenant, after, limit, most_bytes))
        status, attempt, latest, created, cut, first, *stored = reply
        events = [Event(1, 0, int(created), "queued", b"{}")] if after < 1 else []
        kept = [decode(first + i, data) for i, data in enumerate(stored)]
        if kept and first > (wanted := max(after + 1, 2)):
            events.append(gap(wanted, kept[0]))
        return EventPage(status_of(status), int(attempt), latest, int(created), cut, (events + kept)[:limit])

    async def cancel(self, job_id: str, tenant: str) -> Status:
        """Ask the job to stop; the status after that. Raises as `read` does."""
        (status,) = JOB.found(job_id, await self._run("cancel", job_id, tenant))
        return status_of(status)

    async def delete(self, job_id: str, tenant: str) -> None:
        """Erase the job and leave a tombstone.

        Raises:
            JobNotFound, JobGone
            NotFinished: the job has not ended.
            NotARoot: it is a step of another job.
        """
        outcome, *root = JOB.found(job_id, await self._run("delete", job_id, tenant, self._tombstone))
        if outcome == b"child":
            raise not_a_root(job_id, root[0].decode(), "delete")
        if outcome == b"unended":
            raise NotFinished(f"Job {job_id} has not ended. Cancel it first, then delete it.")

    async def depths(self) -> Sequence[LaneDepth]:
        """Depth by priority and oldest age of every lane, by name."""
        now, empty, rows = await self._run("queues")
        lanes = [LaneDepth(*_queue_and_model(lane), dict.fromkeys(range(10), 0), None) for lane in empty]
        for i in range(0, len(rows), 12):
            by_priority = {9 - level: n for level, n in enumerate(rows[i + 2 : i + 12])}
            lanes.append(LaneDepth(*_queue_and_model(rows[i]), by_priority, max(0, int(now) - int(rows[i + 1])) / 1000))
        return sorted(lanes, key=lambda lane: (lane.queue, lane.model))

    async def overview(self) -> tuple[Sequence[bytes], dict[str, int], int, dict[str, str], dict[str, int]]:
        """What workers announce (JSON each), the counters `<model>:<what>`, the number of claimed jobs, what is wrong by part, and times.

        These are microseconds by `<model>:<what>`, summed over attempts; what = queue, wait, run, store.
        """
        workers, ended, claimed, _now, pairs, times = await self._run("overview")
        trouble = {pairs[i].decode(): pairs[i + 1].decode() for i in range(0, len(pairs), 2)}
        return workers, _numbers(ended), claimed, trouble, _numbers(times)


def not_a_root(job_id: str, root: str, verb: str) -> NotARoot:
    """The error for what can be done with a whole tree alone."""
    return NotARoot(f"Job {job_id} is a step of job {root}, and goes with it: {verb} that one.", root=root)


def _queue_and_model(lane: bytes) -> tuple[str, str]:
    queue, _, model = lane.decode().partition(".")
    return queue, model


def _numbers(flat: Sequence[bytes]) -> dict[str, int]:
    """A hash of numbers. RESP3 turns HGETALL inside a script's reply into a flat list all the same."""
    return {name.decode(): int(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}
