"""What the journal says of a step that is a function."""

from __future__ import annotations

from longrun.models.steps.awaits import Outcome
from longrun.models.steps.journal import Entry

_UNKNOWN = b'{"code":"outcome-unknown","detail":"It was begun before, and whether it was done is not known."}'


def recorded(entry: Entry | None, epoch: int, again: int) -> Outcome | None:
    """Its outcome; None: the function is to be called.

    Args:
        entry: None = there is none.
        epoch: of the attempt. What failed before it is tried again.
        again: epoch in which a person had the job retried: also what may have been done is, since then.
    """
    match entry and entry.kind:
        case "d":
            return Outcome("succeeded", entry.rest) if entry else None
        case "f" if entry and entry.epoch >= epoch:
            return Outcome("failed", entry.rest)
        case "b" if entry and entry.epoch >= again:
            return Outcome("failed", _UNKNOWN)
        case _:
            return None
