"""Kinds of things that callers ask for by id, and the errors for those that are not there.

A script answers `{'none'}` (there is no such thing, or it is another tenant's: the same answer) or `{'gone'}` (deleted or expired): the
guard `theirs` in `scripts/lib.lua` decides that, and here is the one place that reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from longrun.errors import (
    BatchGone,
    BatchNotFound,
    FileGone,
    FileNotFound,
    JobGone,
    JobNotFound,
    Problem,
    WebhookDeliveryNotFound,
    WebhookEndpointNotFound,
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing, and which errors say that one is not there. In the texts stands its id for `{}`."""

    none: type[Problem]
    none_text: str
    gone: type[Problem]
    gone_text: str

    def not_found(self, wanted: str) -> Problem:
        """The same error for an unknown id and for another tenant's."""
        return self.none(self.none_text.format(wanted[:64]))

    def expired(self, wanted: str) -> Problem:
        """The error for what was deleted or has expired."""
        return self.gone(self.gone_text.format(wanted[:64]))

    def found(self, wanted: str, reply: Any) -> Any:
        """A script's reply about the thing with the id `wanted`. Raises the errors of this kind when it says that it is not there."""
        if reply[0] == b"none":
            raise self.not_found(wanted)
        if reply[0] == b"gone":
            raise self.expired(wanted)
        return reply


def is_there(reply: Any) -> bool:
    """Whether a script's reply is about something that is there."""
    return reply[0] not in (b"none", b"gone")


JOB = Kind(JobNotFound, "There is no job {}.", JobGone, "Job {} was deleted or has expired.")
BATCH = Kind(BatchNotFound, "There is no batch {}.", BatchGone, "Batch {} has expired.")
FILE = Kind(FileNotFound, "There is no file {}.", FileGone, "File {} was deleted or has expired.")
#: A deleted one leaves no trace.
ENDPOINT = Kind(WebhookEndpointNotFound, "There is no webhook endpoint {}.", WebhookEndpointNotFound, "There is no webhook endpoint {}.")
#: One that is still in the ledger can be sent again only while its job is there.
DELIVERY = Kind(
    WebhookDeliveryNotFound, "There is no webhook delivery {}.", JobGone, "The job that this message tells of was deleted or has expired."
)
