"""The verbs of workers. Each write carries the fence of its claim and is refused when that is stale."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from redis.exceptions import ResponseError

from longrun.errors import LongrunError
from longrun.jobs.fence import Fence, attempt_of, fence_of
from longrun.jobs.flow import Flow
from longrun.jobs.policy import Policy
from longrun.log import Log
from longrun.settings import Settings
from longrun.store.connection import Connection, StoreError

log = Log("longrun.store")
#: A worker waits for the store much longer than a request does: its runs go on meanwhile.
PATIENCE = 3600.0
#: Most jobs of one script. An ending with more JSON than this many bytes comes alone, so that a full store refuses it and nothing else.
MOST, _SMALL = 100, 4096
_FILES_LOST = 2
Mode = Literal["crash", "suspect", "release", "unstarted"]
Outcome = Literal["succeeded", "failed", "canceled"]


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed job. Times are milliseconds of the server's clock. `input` may be a reference (`jobs.file_refs`), as it is stored."""

    id: str
    fence: Fence
    input: bytes
    policy: Policy
    suspect: str  #: the group it may run with and nobody else, see `worker.blame`; empty = no suspect
    errors: int
    created: int
    claimed: int
    files: bytes = b""  #: JSON, file id → `FileRef.members()` of the input files; empty = none
    priority: int = 5  #: 9 = most urgent
    flow: Flow | None = None  #: what it has to do with steps; None: nothing

    @property
    def attempt(self) -> int:
        """The number of the attempt that it has begun."""
        return attempt_of(self.fence)


@dataclass(frozen=True, slots=True)
class Company:
    """Other jobs in a worker."""

    busy: bool  #: there are some
    at_their_last: Collection[str]  #: ids of those that one more crash would end

    def flat(self) -> tuple[str, str]:
        """As claim.lua reads it."""
        return str(int(self.busy)), " ".join(self.at_their_last)


ALONE = Company(busy=False, at_their_last=())


@dataclass(frozen=True, slots=True)
class Suspect:
    """A suspect that is queued."""

    lane: str
    level: str  #: 9 - priority
    id: str
    group: str


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended for good, see `Claims.finish`."""

    id: str
    fence: Fence
    outcome: Outcome
    data: bytes
    usage: bytes = b""
    partial: bool = False
    files: int = 0  #: how many files the attempt has recorded; 0 = not known

    def flat(self) -> tuple[str | int | bytes, ...]:
        """As finish.lua reads it."""
        return self.id, self.fence, self.outcome, self.data, self.usage, "1" if self.partial else "", self.files


class FilesLost(StoreError):
    """The store has the claim, and has lost files that the attempt had recorded. Nothing was changed."""


class Claims:
    """See the module."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._run, self._start = connection.run, connection.start
        self._lease = int(settings.lease * 1000)
        self._log_limits = (settings.max_events, settings.max_event_bytes)

    async def claim(self, job_id: str, nonce: str, worker: str, device: str, *, name: str = "") -> Claim | None:
        """Take a queued job for the worker of this identity; None when it cannot be taken (it has ended, was taken, or is gone).

        `nonce`: names this claim and no other: sent again, it gets the same answer. It holds no `/`.
        `name`: of the worker, for people; default: its identity.
        """
        return (await self.claim_all([job_id], nonce, worker, device, name=name))[0]

    async def claim_all(
        self,
        job_ids: Sequence[str],
        nonce: str,
        worker: str,
        device: str,
        *,
        name: str = "",
        groups: Iterable[str] | None = None,
        company: Company = ALONE,
    ) -> list[Claim | None]:
        """Take several queued jobs in one trip; for each what `claim` returns.

        Of suspects those of these groups are taken, None = all; the others stay queued, for `suspects`. `company`: what runs in the worker.
        """
        admitted = "*" if groups is None else _spaced(groups)
        fixed = nonce, worker, name or worker, device, self._lease, admitted, *company.flat()
        pieces = [job_ids[at : at + MOST] for at in range(0, len(job_ids), MOST)]
        calls = [self._start("claim", *fixed, *piece, timeout=PATIENCE) for piece in pieces]
        claims: list[Claim | None] = []
        for piece, call in zip(pieces, calls, strict=True):
            claims += [_claim(job_id, nonce, reply) for job_id, reply in zip(piece, await call, strict=True)]
        return claims

    async def suspects(self, worker: str, lanes: Sequence[str], more: int, loose: Iterable[str] = ()) -> list[Suspect]:
        """Suspects that wait in these lanes (up to 90) and are for `worker` to run.

        It holds groups for one lease from the latest call, and comes to hold up to `more` beside those that it holds. Those in `loose` it
        does not hold, or no longer, and gets all the same as long as nobody else holds them.
        """
        flat = await self._run("suspects", worker, self._lease, more, _spaced(loose), *lanes, timeout=self._lease / 1000)
        return [Suspect(*(member.decode() for member in flat[at : at + 4])) for at in range(0, len(flat), 4)]

    async def heartbeat(self, held: Sequence[tuple[str, Fence]], timeout: float) -> list[int]:
        """Renew up to 100 claims. For each: 1 kept, 2 kept and to be canceled, 3 kept and what it waits for has come, 0 lost."""
        flat = [value for pair in held for value in pair]
        return list(await self._run("heartbeat", self._lease, *flat, timeout=timeout))

    async def append(self, job_id: str, fence: Fence, first: int, progress: bytes, events: Sequence[tuple[str, bytes]]) -> bool:
        """Append events, the first of them number `first` (0-based) of this attempt. False: the claim is stale.

        `progress` is the latest progress as JSON, or empty. A log over its limits loses its oldest events.
        An event of type `file` (JSON of `FileRef.members()`, key `<job>/<fence>/<file>`) makes a file the job's own, unseen by readers.
        In the place of one that cannot be kept (an attempt may make 1,000, and its output) stands an event of type `log`.
        """
        flat = [value for event in events for value in event]
        reply = await self._run("append", job_id, fence, first, progress, *self._log_limits, *flat, timeout=PATIENCE)
        return bool(reply[0])

    async def finish(
        self, job_id: str, fence: Fence, outcome: Outcome, data: bytes, usage: bytes = b"", *, partial: bool = False
    ) -> str | None:
        """End the job with its output or error (JSON). The status it has now; None when the write was stale.

        `usage`: what this attempt has used (JSON object of numbers), added to that of those before it; empty = nothing.
        `partial`: the output is what the model had when its time was over.
        """
        (ended,) = await self.finish_all([Ending(job_id, fence, outcome, data, usage, partial)])
        if isinstance(ended, LongrunError):
            raise ended
        return ended

    async def finish_all(self, endings: Sequence[Ending]) -> list[str | LongrunError | None]:
        """End several jobs in one trip; for each the answer of `finish`, or the error that it would raise; FilesLost among them."""
        pieces = _pieces(endings)
        calls = [self._start("finish", *(value for at in piece for value in endings[at].flat()), timeout=PATIENCE) for piece in pieces]
        answers: list[str | LongrunError | None] = [None] * len(endings)
        for piece, call in zip(pieces, calls, strict=True):
            try:
                replies = await call
            except LongrunError as error:
                replies = [error] * len(piece)
            for at, each in zip(piece, replies, strict=True):
                answers[at] = _ended(endings[at].id, each)
        return answers

    async def retry_later(self, job_id: str, fence: Fence, delay: float, error: bytes, usage: bytes = b"") -> str | None:
        """Have the job run again in `delay` seconds. The status it has now; None when the write was stale."""
        return self.status(await self._run("retry_later", job_id, fence, int(delay * 1000), error, usage, timeout=PATIENCE))

    async def hand_back(
        self, job_id: str, fence: Fence, mode: Mode, error: bytes = b"", group: str = "", *, usage: bytes = b""
    ) -> str | None:
        """Give the job back: `crash` spends its crash budget (when that is spent it fails with `error`), the other modes are free.

        A `suspect` runs with its `group` only from now on; without one, alone.
        """
        return self.status(await self._run("hand_back", job_id, fence, mode, error, group, usage, timeout=PATIENCE))

    async def requeue(self, job_ids: Sequence[str]) -> None:
        """Put up to 100 tickets back that were popped and not claimed."""
        await self._run("requeue", *job_ids)

    async def wake(self, worker: str) -> None:
        """Interrupt a worker that waits for tickets of other lanes than those it has room for now."""
        await self._run("wake", worker, self._lease)

    async def announce(self, worker: str, info: bytes, *, name: str = "", listed: bool = True) -> bytes | None:
        """Say what the worker of this identity runs (JSON), and keep its name for a lease.

        `name`: as for `claim`. `listed`: whether it is there for others; before it works, it may have its name alone.
        None: done. Otherwise another live worker has the name, nothing was changed, and this is what that one has announced.
        """
        other: bytes | None = await self._run("announce", worker, name or worker, info, self._lease, "1" if listed else "")
        return other

    async def leave(self, worker: str) -> None:
        """The worker stops: it is listed no longer, and its name is free. What others have announced is not touched."""
        await self._run("announce", worker, "", "", self._lease, "")

    @staticmethod
    def status(reply: Sequence[object]) -> str | None:
        """From {1, status}: what the job is now; from {0, status}: None."""
        done, status = reply
        return status.decode() if done and isinstance(status, bytes) else None


def _spaced(groups: Iterable[str]) -> str:
    return "".join(f" {group} " for group in groups)


def _pieces(endings: Sequence[Ending]) -> list[list[int]]:
    """Which endings go into one script, by their places."""
    small = [at for at, ending in enumerate(endings) if len(ending.data) <= _SMALL]
    large = [[at] for at, ending in enumerate(endings) if len(ending.data) > _SMALL]
    return [small[at : at + MOST] for at in range(0, len(small), MOST)] + large


def _ended(job_id: str, reply: Any) -> str | LongrunError | None:
    if isinstance(reply, ResponseError):
        return StoreError(f"{job_id}: {reply}")
    if isinstance(reply, LongrunError):
        return reply
    return FilesLost(f"{job_id}: the store has lost files of this attempt") if reply[0] == _FILES_LOST else Claims.status(reply)


def _claim(job_id: str, nonce: str, reply: Any) -> Claim | None:
    if isinstance(reply, ResponseError):
        # It fails alone, is claimed again later, and an operator may read this.
        log.error("job cannot be claimed", job_id=job_id, error=str(reply))
        return None
    if reply[0] == 0:
        return None
    attempt, data, policy, suspect, errors, created, claimed, files, priority, flow = reply
    fence = fence_of(attempt, nonce)
    return Claim(
        job_id,
        fence,
        data,
        Policy.from_json(policy),
        suspect.decode(),
        errors,
        created,
        int(claimed),
        files,
        priority,
        Flow.from_text(flow),
    )
