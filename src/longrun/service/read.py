"""Reading jobs: one, many, their attempts, and waiting for a change."""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import orjson

from longrun.clock import is_job_id
from longrun.errors import JobNotFound, ValidationFailed
from longrun.jobs.record import AttemptRecord, JobRecord
from longrun.jobs.states import Status
from longrun.service.caller import Caller
from longrun.service.losses import lost_job
from longrun.store.follow import DISMISSED, RECONNECTED, Listener
from longrun.store.kinds import JOB

#: Pub/sub may drop messages: a waiting reader reads again after this many seconds.
RE_READ = 15.0
_PIECE, _PIECES = 100, 20
_SCORE = re.compile(r"\d{1,16}(?:\.\d{1,6})?")
#: Messages after which a job may have ended; the others cost a reader that waits for the end nothing.
_ENDS = frozenset({b"done", b"gone", RECONNECTED, DISMISSED})

Index = Literal["idx", "dead"]


@dataclass(frozen=True, slots=True)
class Filters:
    """What a listing is narrowed to; None = not at all. `code` is that of the error, `since` milliseconds since the epoch."""

    model: str | None = None
    status: Status | None = None
    tag: str | None = None
    code: str | None = None
    since: int = 0

    def fits(self, job: JobRecord) -> bool:
        """What the script cannot decide, or not exactly."""
        # It compares tags as text, in which one such as `,` is found between two others; and dead letters are sorted by their end.
        tagged = self.tag is None or (job.tags is not None and self.tag in orjson.loads(job.tags))
        return tagged and job.created >= self.since and (self.code is None or error_code(job) == self.code)


async def get(caller: Caller, job_id: str) -> JobRecord:
    """The job.

    Raises:
        JobNotFound: unknown, or another tenant's.
        JobGone: deleted or expired.
    """
    return await caller.store.records.read(known_form(job_id), caller.tenant)


async def attempts(caller: Caller, job_id: str) -> Sequence[AttemptRecord]:
    """The job's attempts, oldest first. Raises as `get` does."""
    return await caller.store.records.attempts(known_form(job_id), caller.tenant)


async def wait(
    caller: Caller, job_id: str, *, timeout: float, known: frozenset[int] | None = None, accepted: bool = False
) -> JobRecord:  # fmt: skip
    """The job as soon as it has ended, or after `timeout` seconds, or when this process is about to stop, as it is then.

    Args:
        known: versions that the caller has: return as soon as it has another one. None: wait for the end.
        accepted: the job was there a moment ago.

    Raises as `get` does, and JobLost: the store has lost it meanwhile.
    """
    deadline = time.monotonic() + timeout
    async with caller.store.follower.listen(caller.store.job_channel(known_form(job_id))) as listener:
        while True:
            try:
                job = await caller.store.records.read(job_id, caller.tenant)
            except JobNotFound:
                if accepted:
                    raise lost_job(job_id, caller.store.losses.latest) from None
                raise
            accepted = True
            left = deadline - time.monotonic()
            changed = known is not None and job.version not in known
            if job.terminal or changed or left <= 0 or caller.store.follower.dismissed:
                return job
            await sleep_until(listener, min(left, RE_READ), _ENDS if known is None else None)


async def sleep_until(listener: Listener, timeout: float, wanted: frozenset[bytes] | None = None) -> None:
    """Return when one of the `wanted` messages came (None = any), or after `timeout` seconds."""
    end = time.monotonic() + timeout
    while (left := end - time.monotonic()) > 0:
        messages = await listener.wait(left)
        if messages and (wanted is None or not wanted.isdisjoint(messages)):
            return


async def list_jobs(
    caller: Caller, filters: Filters, *, cursor: str | None, limit: int, index: Index
) -> tuple[list[JobRecord], str | None]:
    """A page of jobs, newest first (dead letters: latest failure first), and the cursor of the next one; None: it was the last.

    At most 2,000 jobs are looked at, so a page may be short, or even empty, while `cursor` goes on.

    Raises:
        ValidationFailed: the cursor is not one of ours.
    """
    tag = None if filters.tag is None else orjson.dumps(filters.tag).decode()
    pairs = [("model", filters.model), ("status", filters.status), ("tag", tag)]
    narrowed = [(name, str(value)) for name, value in pairs if value is not None]
    place = None if cursor is None else parse_cursor(cursor)
    jobs: list[JobRecord] = []
    for _ in range(_PIECES):
        look_at = _PIECE if narrowed or filters.code else min(_PIECE, limit + 1 - len(jobs))
        page = await caller.store.records.list(
            caller.tenant, cursor=place, look_at=look_at, since=filters.since, filters=narrowed, index=index
        )
        jobs += [job for job in page.jobs if filters.fits(job)]
        place = page.cursor
        if len(jobs) > limit:
            last = jobs[limit - 1]
            return jobs[:limit], make_cursor(str(last.finished if index == "dead" else last.created), last.id)
        if place is None:
            return jobs, None
    return jobs, make_cursor(*place) if place else None


def error_code(job: JobRecord) -> str | None:
    """The code of the job's error."""
    return None if job.error is None else str(orjson.loads(job.error).get("code"))


def make_cursor(score: str, job_id: str) -> str:
    """An opaque place in a listing."""
    return base64.urlsafe_b64encode(f"{score}.{job_id}".encode()).decode().rstrip("=")


def parse_cursor(cursor: str, where: str = "/query/cursor", *, is_id: Callable[[str], bool] = is_job_id) -> tuple[str, str]:
    """The reverse of `make_cursor`. Raises ValidationFailed, with the pointer `where`, for anything else."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    score, _, job_id = text.rpartition(".")
    if not _SCORE.fullmatch(score) or not is_id(job_id):
        finding = {"pointer": where, "detail": "not a cursor of this listing"}
        raise ValidationFailed("The cursor is not valid. Take it from `next` of the page before, unchanged.", errors=[finding])
    return score, job_id


def known_form(job_id: str) -> str:
    """`job_id` when it has the form of an id. Raises JobNotFound otherwise, without asking the store."""
    if not is_job_id(job_id):
        raise JOB.not_found(job_id)
    return job_id
