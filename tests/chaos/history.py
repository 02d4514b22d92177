"""What callers asked for and saw, as plain data for `check.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Ask:
    """An accepted submit."""

    model: str
    text: str
    key: str = ""  #: its Idempotency-Key
    at_most_once: bool = False
    film: bytes | None = field(default=None, repr=False)  #: the file that came with it


@dataclass(frozen=True, slots=True)
class Sight:
    """What one GET of a job said."""

    status: str
    terminal: bool
    attempt: int
    version: int

    @classmethod
    def of(cls, job: dict[str, Any]) -> Sight:
        """The part of a job that is compared."""
        return cls(job["status"], job["terminal"], job["attempt"], job["version"])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is told of a job after all: the job, its events, its attempts, and (end, SHA-256 of the output) by reader."""

    job: dict[str, Any]
    events: list[dict[str, Any]]
    attempts: list[dict[str, Any]]
    told: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """A model's own note that it began to work on an attempt."""

    job_id: str
    attempt: int
    pid: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request that a webhook receiver got, and how it answered."""

    message_id: str
    type: str
    job_id: str
    status: str  #: of the job, as the payload tells
    genuine: bool  #: whether its signature is right
    answered: int
    at: float  #: monotonic time of arrival


@dataclass(slots=True)
class History:
    """All of a test, by job id.

    Attributes:
        streams: events in the order in which one reader got them, over all its connections; one list a reader.
        listed: ids of the jobs that carry an Idempotency-Key, by key, as the listing tells after all.
        given_up: keys of submits that never got an answer.
        hooked: jobs that were submitted with a webhook for their end, for a receiver that takes everything in the end.
        deliveries: what the receivers got.
        contents: bytes of the files that outputs name, by id; None: they could not be read.
        left: what the blob store still held when all jobs had been deleted.
    """

    accepted: dict[str, Ask] = field(default_factory=dict)
    seen: dict[str, list[Sight]] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    streams: dict[str, list[list[dict[str, Any]]]] = field(default_factory=dict)
    listed: dict[str, list[str]] = field(default_factory=dict)
    given_up: set[str] = field(default_factory=set)
    hooked: set[str] = field(default_factory=set)
    deliveries: list[Delivery] = field(default_factory=list)
    contents: dict[str, bytes | None] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def see(self, job: dict[str, Any]) -> Sight:
        """Add a sight of a job when it is not the same as the last one."""
        sight, sights = Sight.of(job), self.seen.setdefault(job["id"], [])
        if not sights or sights[-1] != sight:
            sights.append(sight)
        return sight

    def unfinished(self) -> list[str]:
        """Accepted jobs that nobody has seen ended."""
        return [job_id for job_id in list(self.accepted) if not (sights := self.seen.get(job_id)) or not sights[-1].terminal]
