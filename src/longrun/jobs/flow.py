"""What a claim says of the steps of its job: where a parent is to go on, and whether the job is a step itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flow:
    """Of a job that has steps, is one, or is the retry of one that had some."""

    epoch: int = 0  #: grows by one with each retry: what had failed before it is done again
    again: int = 0  #: the epoch in which a caller has retried the job: from it on also steps that ended `outcome-unknown` are done again
    origin: str = (
        ""  #: what `job.key` is made of instead of the job's id: a step's idempotency key, a retried root's first id; empty = its id
    )
    ran_ms: int = 0  #: how long its code had run before it was let go
    journal: bool = False  #: it has a journal: steps were asked for before
    child: bool = False  #: it is a step of another job

    @classmethod
    def from_text(cls, text: bytes) -> Flow | None:
        """As claim.lua says it: `<epoch> <again> <origin or -> <ran ms> <journal 0|1> <child 0|1>`; None: a plain job (empty text)."""
        if not text:
            return None
        epoch, again, origin, ran, journal, child = text.decode().split(" ")
        return cls(int(epoch), int(again), "" if origin == "-" else origin, int(ran), journal == "1", child == "1")
