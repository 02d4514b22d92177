"""The verbs of a worker about the steps of a job that it runs, the parent. All but `reap` take the fence of its claim.

A step is a *child* (a job), a *local* result (what `job.step` returned), a *sleep* or a *wait* (for a signal). The journal of the parent
has an entry for each, by the key of the step; `keys.py` says where everything lies.

Children, sleeps and waits *end*: the list `ends` has their keys in the order in which they did, and its length is what `seen`, `need` and
`Answer.ended` count by. A parent that waits has a threshold there, `seen + need`, and every script that makes an end compares the two.
A local result is there as soon as it is journaled, and counts in none of that; so does a detached job, which is nobody's child: its
result is its id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import orjson

from longrun.errors import LongrunError
from longrun.jobs.fence import Fence
from longrun.jobs.file_refs import FileRef
from longrun.settings import Settings
from longrun.store.connection import Arg, Connection, StoreError

#: A worker waits for the store much longer than a request does: its runs go on meanwhile.
PATIENCE = 3600.0
#: Most calls, entries or jobs of one script, and most fields of a journal that are read at once.
MOST, _PIECE = 100, 1000
State = Literal["pending", "succeeded", "failed", "canceled", "expired"]
#: What a script says of a result that it had no room for.
_MORE = b"more"


@dataclass(frozen=True, slots=True)
class Child:
    """A job that is asked for as a step. `mark`: opaque, without spaces; it stands in the journal."""

    key: str
    mark: str
    model: str
    queue: str
    input: bytes
    policy: bytes
    files: bytes = b""  #: JSON, file id → `FileRef.members()` of the files in the input; empty = none
    stream: bool = False  #: its output is appended to the parent's log as it comes
    detached: bool = False  #: a root of its own, which nobody waits for

    def flat(self) -> tuple[str | int | bytes, ...]:
        """As ask.lua reads it."""
        kind = "detached" if self.detached else "child"
        return kind, self.key, self.mark, self.model, self.queue, self.input, self.policy, self.files, "1" if self.stream else ""


@dataclass(frozen=True, slots=True)
class Sleep:
    """A time to wait, counted from when it was asked for first."""

    key: str
    mark: str
    seconds: float

    def flat(self) -> tuple[str | int | bytes, ...]:
        """As ask.lua reads it."""
        return "sleep", self.key, self.mark, int(self.seconds * 1000), "", "", "", "", ""


@dataclass(frozen=True, slots=True)
class SignalWait:
    """A wait for the signal `name` (no spaces, <= 64 bytes), under the key `s:<name>`. `ask`, `schema`: JSON, or empty."""

    key: str
    mark: str
    name: str
    seconds: float
    ask: bytes = b""
    schema: bytes = b""

    def flat(self) -> tuple[str | int | bytes, ...]:
        """As ask.lua reads it."""
        return "wait", self.key, self.mark, int(self.seconds * 1000), self.name, self.ask or b"null", self.schema or b"null", "", ""


Call = Child | Sleep | SignalWait


@dataclass(frozen=True, slots=True)
class Terms:
    """Limits of a tree, by the model of its root: they count when the parent is a root, from its first step on."""

    depth: int = 10  #: children below each other
    tree: int = 1000  #: jobs below the root
    budget: bytes = b""  #: JSON, figure of usage → most that all jobs below the root may use; empty = no limit


@dataclass(frozen=True, slots=True)
class Result:
    """What is known of a step."""

    key: str
    state: State
    data: bytes = b""  #: output or error (JSON, the output perhaps a reference, see `jobs.file_refs`); empty while pending
    usage: bytes = b""  #: JSON: what it has used, with all below it; empty = nothing
    id: str = ""  #: of the child; empty = there is none
    due: int = 0  #: ms when a sleep or a wait is over; 0 = it is none


@dataclass(frozen=True, slots=True)
class Answer:
    """What the store answers to a parent."""

    ended: int  #: how many ends the parent knows of with this answer: the `seen` of the next question
    waits: bool  #: it waits now, from this script on
    now: int  #: ms of the server's clock
    results: list[Result] = field(default_factory=list)
    more: bool = False  #: of `resume`: more has ended than had room


class Refused(LongrunError):
    """A step is not made. Nothing of this call was made, or changed; of more than `MOST` calls those before may have been.

    Args:
        code: `too-many-steps` (the limits of the tree), `over-budget`, `file-not-found` or `queue-full` (a detached job).
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


class OldFormat(StoreError):
    """The data have a format that knows of no steps, because a process of an older version works on them still. Ask again later."""


class StillStops(StoreError):
    """A step was begun by the job that this one is the retry of, or in an earlier epoch, and is being stopped; it may still succeed.

    Ask again soon: then it has succeeded, and is not done a second time, or it is made anew. Nothing of this call was made.
    """


class Steps:
    """See the module."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._run = connection.run
        self._max_queued = settings.max_queued

    async def ask(
        self, parent: str, fence: Fence, calls: Sequence[Call], *, seen: int, need: int, terms: Terms, until: int = 0
    ) -> Answer | None:
        """Find these steps in the journal or make them; then wait, when `need` >= 1 and none of them has ended.

        It waits until `need` more steps have ended than the `seen` that it knew of (-1: than there are now), or a sleep or wait is over, or
        until `until` (ms, 0 = no such time). Where that has come already it does not: `waits` is false, and `resume` says what has ended.
        The results are those of the calls, in their order. None: the claim is stale, or the job, or its tree, is to stop.

        Raises:
            Refused: see there.
            OldFormat, StillStops: see there.
            StorageFull: nothing of the script that was refused was made.
        """
        fixed = parent, fence, until, terms.depth, terms.tree, terms.budget, self._max_queued
        answer = Answer(seen, False, 0)
        for at in range(0, max(len(calls), 1), MOST):
            last = at + MOST >= len(calls)
            wait = need if last and all(result.state == "pending" for result in answer.results) else 0
            # What ends between two scripts is no news to the threshold: the results of the first are from before.
            latest = await self._ask(fixed, calls[at : at + MOST], answer.ended, wait)
            if latest is None:
                return None
            ended = latest.ended if at == 0 else answer.ended
            answer = Answer(ended, latest.waits, latest.now, answer.results + latest.results)
        return answer

    async def _ask(self, fixed: Sequence[Arg], calls: Sequence[Call], seen: int, need: int) -> Answer | None:
        """`ask` for at most `MOST` calls. Results that had no room in the reply are asked for again: they are in the journal by then."""
        flat = (value for call in calls for value in call.flat())
        answer = _answer(await self._run("ask", *fixed, seen, need, *flat, timeout=PATIENCE))
        late = [at for at, result in enumerate(answer.results) if result.data == _MORE] if answer is not None else []
        if answer is None or not late:
            return answer
        rest = await self._ask(fixed, [calls[at] for at in late], seen, 0)
        if rest is None:
            return None
        for at, result in zip(late, rest.results, strict=True):
            answer.results[at] = result
        return answer

    async def resume(self, parent: str, fence: Fence, seen: int, *, go: bool) -> Answer | None:
        """What has ended after the first `seen` ends, in that order. `go`: a parent that waits runs again, from this script on.

        At most `MOST` results, and of large ones some megabytes: ask again, from its `ended` on, when there is `more`. `waits`: it waits
        still. A key may come twice, and may be that of a step which this run never asked for. None: as of `ask`.
        """
        answer = _answer(await self._run("resume", parent, fence, seen, int(go), timeout=PATIENCE))
        if answer is None:
            return None
        known = seen + len(answer.results)
        return replace(answer, ended=known, more=bool(answer.results) and known < answer.ended)

    async def let_go(self, runs: Sequence[tuple[str, Fence, int, bytes]]) -> list[str | None]:
        """Parents that wait are held no longer; each is (id, fence, ms that its code has run in all, usage JSON of the attempt).

        For each its status after: `asleep`, or `queued` (what it waits for has come), or that of one which did not wait: a running one is
        given back, a canceling one ends. None: the claim was stale.
        """
        statuses: list[str | None] = []
        for at in range(0, len(runs), MOST):
            flat = (value for run in runs[at : at + MOST] for value in run)
            replies = await self._run("let_go", *flat, timeout=PATIENCE)
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
                statuses.append(reply[1].decode() if reply[0] else None)
        return statuses

    async def journal(
        self, parent: str, fence: Fence, entries: Sequence[tuple[str, bytes]], stop: Sequence[str] = ()
    ) -> list[bytes] | None:
        """Write entries, each (key, text), unless the journal has them already; for each the entry that counts, as the journal has it.

        A text is `d <mark> <JSON>` (a local result, or `@<ref>`), `f <mark> <failure JSON>` or `b <mark> <attempt>` (begun, of `once`); the
        script adds epoch and time: `d <epoch> <at> <mark> <JSON>`. A begun-mark gives way to the result of its own attempt; a failure, and
        a begun-mark that a caller's retry has let be, give way in a later epoch. With the key `u:<key>` and the text `1`, that a step
        of the journal was not used; for that its usage is returned (JSON, with all below it; `1` = nothing). If the first of these
        entries is ours, the children with the keys `stop` are asked to stop.
        None: the claim is stale.
        """
        flat = (value for entry in entries for value in entry)
        reply = await self._run("journal", parent, fence, len(entries), *flat, *stop, timeout=PATIENCE)
        return None if not reply[0] else list(reply[1:])

    async def drop(self, parent: str, fence: Fence, keys: Sequence[str]) -> bool:
        """Nobody waits for these steps any more: children are asked to stop, and the journal says so (`x:<key>`), in this epoch.

        False: the claim is stale.
        """
        pieces = [keys[at : at + MOST] for at in range(0, len(keys), MOST)]
        return all([(await self._run("drop", parent, fence, *piece, timeout=PATIENCE))[0] for piece in pieces])

    async def forget_signal(self, parent: str, fence: Fence, name: str, value: bytes = b"") -> bool:
        """This value of a signal (empty: whatever it is) did not fit: it is dropped, and the wait is open again. False: stale."""
        return bool((await self._run("forget_signal", parent, fence, name, value, timeout=PATIENCE))[0])

    async def history(self, parent: str, fence: Fence) -> tuple[dict[str, bytes], list[str]] | None:
        """The whole journal and the keys of what has ended, in that order, by pieces. None: the claim is stale.

        Fields: entries by their keys, and `v:<name>` (JSON of a signal, or `!`: the wait was over first), `x:<key>` (dropped in
        this epoch), `u:<key>` (epoch in which it was not used).
        """
        fields: dict[str, bytes] = {}
        ends: list[str] = []
        cursor, start = b"0", 0
        while True:
            reply = await self._run("history", parent, fence, cursor, start, _PIECE, timeout=PATIENCE)
            if not reply[0]:
                return None
            _, cursor, flat, more = reply
            fields |= {flat[at].decode(): flat[at + 1] for at in range(0, len(flat), 2)}
            ends += [key.decode() for key in more]
            start += len(more)
            if cursor == b"" and len(more) < _PIECE:
                return fields, ends

    async def files(self, parent: str, fence: Fence, ids: Sequence[str]) -> list[FileRef] | None:
        """Records of these files (<= 100) that the parent's tenant has; others are left out. None: the claim is stale."""
        reply = await self._run("step_files", parent, fence, *ids, timeout=PATIENCE)
        return [FileRef.of(orjson.loads(ref)) for ref in reply[1:]] if reply[0] else None

    async def reap(self) -> int:
        """A chore: stop the open children of parents that have ended or are to stop; how many were looked at.

        At most about `MOST` of one parent a call; 0 = nothing is left to be done.
        """
        return int(await self._run("reap", MOST))


def _answer(reply: Any) -> Answer | None:
    """From {1, ended, waits, now, key, state, data, usage, id, due, …} | {0, status} | {-1, code, detail} | {-2} | {-3}."""
    if reply[0] == 0:
        return None
    if reply[0] == -1:
        raise Refused(reply[1].decode(), reply[2].decode())
    if reply[0] == -3:
        raise StillStops("A step is still being stopped.")
    if reply[0] < 0:
        raise OldFormat("The data have a format of before there were steps: a process of an older version works on them.")
    _, ended, waits, now, *flat = reply
    results = [
        Result(flat[at].decode(), flat[at + 1].decode(), flat[at + 2], flat[at + 3], flat[at + 4].decode(), int(flat[at + 5]))
        for at in range(0, len(flat), 6)
    ]
    return Answer(ended, waits == 1, int(now), results)
