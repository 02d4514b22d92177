"""What is known of a run when it begins."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1


@dataclass(frozen=True, slots=True)
class Start:
    """See the module.

    Args:
        job_id, model: of the parent.
        code: digest of the source of its module (`code_of`).
        epoch: attempts of one epoch take over failures; a retry begins the next.
        again: epoch in which a caller retried it.
        origin: what keys for upstream services derive from; empty = the job's id.
        child: it has a parent itself.
    """

    job_id: str
    model: str = ""
    code: str = ""
    epoch: int = 0
    again: int = 0
    origin: str = ""
    child: bool = False

    @property
    def base(self) -> str:
        """What is the same in all attempts, epochs and retries of the job."""
        return self.origin or self.job_id

    def key(self, step: str) -> str:
        """A key for upstream services that derives from a step; that of a child (its `origin`) is made so from its key in the journal."""
        return f"key_{sha1(f'{self.base} {step}'.encode(), usedforsecurity=False).hexdigest()}"
