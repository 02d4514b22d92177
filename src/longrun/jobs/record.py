"""The stored record of a job, as read back from the store."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, fields
from typing import Any

import orjson

from longrun.jobs.file_refs import FileRef, referenced
from longrun.jobs.policy import Policy
from longrun.jobs.states import TERMINAL, Status, status_of

#: Fields of the hash that a read returns, in this order (the scripts get the same list). `input` is left out: no answer shows it.
FIELDS = (
    "tenant", "model", "queue", "status", "version", "priority", "attempt", "created", "queued", "started", "finished", "expires", "due",
    "errors", "progress", "progress_at", "output", "error", "usage", "tags", "metadata", "policy", "retry_of", "retried_by", "worker",
    "partial", "hook", "batch", "batch_index", "flow",
)  # fmt: skip
#: Those that follow when `flow` is there: of a job that has steps, is one, or is the retry of another.
TREE_FIELDS = ("parent", "root", "step", "depth", "epoch", "asks", "kids_usage", "tree_usage")
#: What stands for `expires` in a step: it goes with its root.
WITH_TREE = b"tree"

#: Figures of `usage` that are ours, of each attempt or of the job. What a model reports by one of these names is not kept.
OUR_FIGURES = frozenset({"queue_s", "wait_s", "run_s", "steps_s", "store_s", "batch_size", "batch_wait_s"})


def typed(names: Sequence[str], values: Sequence[bytes | None], *, ints: Container[str], texts: Container[str]) -> dict[str, Any]:
    """The fields of a hash that are there, by name: as numbers, as texts, or as the bytes that they are."""
    return {
        name: int(value) if name in ints else value.decode() if name in texts else value
        for name, value in zip(names, values, strict=True)
        if value is not None
    }


def expires_at(stored: bytes | None) -> int | None:
    """When a job goes (ms), from its field `expires`; None: it has no time of its own."""
    return None if stored is None or stored == WITH_TREE else int(stored)


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What the store knows of a job. Times are milliseconds since the epoch; `bytes` members are JSON."""

    id: str
    tenant: str
    model: str
    queue: str
    status: Status
    version: int
    priority: int
    attempt: int
    created: int
    queued: int | None = None
    started: int | None = None
    finished: int | None = None
    expires: int | None = None
    due: int | None = None
    errors: int = 0
    progress: bytes | None = None
    progress_at: int | None = None
    output: bytes | None = None
    output_ref: FileRef | None = None  #: the file that holds the output, which is None then
    output_url: str | None = None  #: its URL, once it is to be shown
    error: bytes | None = None
    usage: bytes | None = None
    tags: bytes | None = None
    metadata: bytes | None = None
    policy: bytes | None = None
    retry_of: str | None = None
    retried_by: str | None = None
    worker: str | None = None  #: the identity of the latest that claimed it; its name is in the attempts
    hook: bytes | None = None
    batch: str | None = None  #: the batch whose item it is
    batch_index: int | None = None  #: its place there, from 0
    parent: str | None = None  #: the job that runs it as a step
    root: str | None = None  #: the job that nobody runs, at the top of that
    step: str | None = None  #: its key among the steps of its parent
    depth: int = 0  #: how many jobs are above it
    epoch: int = 0  #: how often steps that had not succeeded were to run anew
    asks: str | None = None  #: names of what it asks people for, with spaces between them
    kids_usage: bytes | None = None  #: what its children that have ended have used, with theirs
    tree_usage: bytes | None = None  #: of a root: what the jobs below it have used
    partial: bool = False  #: the output is what the model had when its time was over
    position: int | None = None  #: place in its lane, 1 = next; only while queued

    @property
    def terminal(self) -> bool:
        """Whether the job has ended."""
        return self.status in TERMINAL

    @property
    def retries_left(self) -> int:
        """Errors the job may still have and be run again."""
        if self.terminal:
            return 0
        policy = Policy.from_json(self.policy) if self.policy else Policy()
        return max(0, policy.max_attempts - 1 - self.errors)

    @classmethod
    def from_fields(cls, job_id: str, values: Sequence[bytes | None], position: int | None = None) -> JobRecord:
        """Build the record from the values of `FIELDS`, and of `TREE_FIELDS` if there are more."""
        names = FIELDS + TREE_FIELDS if len(values) > len(FIELDS) else FIELDS
        given = typed(names, values, ints=_INTS - {"expires"}, texts=_TEXTS)
        given.pop("flow", None)
        given["expires"] = expires_at(given.get("expires"))
        if (ref := referenced(given.get("output"))) is not None:
            given |= {"output": None, "output_ref": ref}
        given["partial"] = "partial" in given
        given["status"] = status_of(given["status"])
        return cls(id=job_id, position=position, **given)


#: The fields that are numbers, and those that are text, as the record declares them; the others are kept as bytes.
_INTS = frozenset(each.name for each in fields(JobRecord) if each.type in ("int", "int | None"))
_TEXTS = frozenset(each.name for each in fields(JobRecord) if each.type in ("str", "str | None"))


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One claim of a job: who ran it, when, and how it ended."""

    attempt: int
    worker: str
    device: str | None
    queued: int | None  #: None: a version that did not note it has claimed it
    started: int
    finished: int | None
    outcome: str | None  #: succeeded, failed, retrying, canceled, released, crashed, waited (see `Records.attempts`); None while it runs
    error: dict[str, Any] | None
    usage: dict[str, Any] | None = None  #: figures that it has reported

    @classmethod
    def from_fields(cls, attempt: int, begun: bytes, ended: bytes | None, usage: bytes | None = None) -> AttemptRecord:
        """Build it from the hash fields `a:<n>` (JSON), `z:<n>` (`at outcome error-JSON`) and `u:<n>` (JSON)."""
        start = orjson.loads(begun)
        finished, outcome, error = ended.split(b" ", 2) if ended else (None, None, b"")
        return cls(
            attempt=attempt,
            worker=start["worker"],
            device=start.get("device") or None,
            queued=int(start["queued"]) if "queued" in start else None,
            started=int(start["at"]),
            finished=int(finished) if finished else None,
            outcome=outcome.decode() if outcome else None,
            error=orjson.loads(error) if error else None,
            usage=orjson.loads(usage) if usage else None,
        )
