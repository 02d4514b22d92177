"""The only source of time and ids."""

from __future__ import annotations

import hashlib
import secrets
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import overload

JOB_PREFIX = "job_"
FILE_PREFIX = "file_"
BATCH_PREFIX = "batch_"
_HEX = frozenset("0123456789abcdef")

#: Seconds: the longest duration that anybody may set, ten years. Times that follow from it can still be written as dates.
MAX_DURATION = 10 * 365 * 86_400.0


def new_job_id() -> str:
    """A fresh job id: `job_` and 32 hexadecimal digits.

    The first 12 digits are the time in milliseconds (as in UUIDv7, RFC 9562), so that ids sort by age; the rest is random.
    """
    return f"{JOB_PREFIX}{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def is_job_id(text: str) -> bool:
    """Whether `text` has the form of a job id."""
    return len(text) == 36 and text.startswith(JOB_PREFIX) and _HEX.issuperset(text[4:])


def new_batch_id() -> str:
    """A fresh batch id: `batch_` and 32 hexadecimal digits, which begin with the time as those of a job do."""
    return f"{BATCH_PREFIX}{new_job_id().removeprefix(JOB_PREFIX)}"


def is_batch_id(text: str) -> bool:
    """Whether `text` has the form of a batch id."""
    return len(text) == 38 and text.startswith(BATCH_PREFIX) and _HEX.issuperset(text[6:])


def item_id(batch_id: str, index: int) -> str:
    """The id of the job of a batch's item; `index` counts from 0. `item` in lib.lua makes the same one."""
    digest = hashlib.sha1(f"{batch_id} {index}".encode(), usedforsecurity=False).hexdigest()
    return f"{JOB_PREFIX}{batch_id[6:18]}{digest[:20]}"


def is_message_id(text: str) -> bool:
    """Whether `text` has the form of the id of a webhook delivery: `msg_` and 32 hexadecimal digits."""
    return len(text) == 36 and text.startswith("msg_") and _HEX.issuperset(text[4:])


def new_file_id() -> str:
    """A fresh file id: `file_` and 32 random hexadecimal digits."""
    return f"{FILE_PREFIX}{secrets.token_hex(16)}"


def new_identity() -> str:
    """A fresh identity for one process of a worker. Its host and process id would be none: containers may share both."""
    return secrets.token_hex(6)


def is_file_id(text: str) -> bool:
    """Whether `text` has the form of a file id."""
    return len(text) == 37 and text.startswith(FILE_PREFIX) and _HEX.issuperset(text[5:])


@overload
def rfc3339(ms: int) -> str: ...
@overload
def rfc3339(ms: int | None) -> str | None: ...
def rfc3339(ms: int | None) -> str | None:
    """Milliseconds since the epoch as RFC 3339 in UTC with milliseconds, `2026-01-31T09:30:00.125Z`."""
    if ms is None:
        return None
    return f"{_second(ms // 1000)}.{ms % 1000:03d}Z"


@lru_cache(maxsize=256)
def _second(seconds: int) -> str:
    # Whoever shows many jobs shows many times of few seconds.
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def parse_rfc3339(text: str) -> int:
    """The reverse of `rfc3339`; accepts any ISO 8601 time, without a zone it is UTC.

    Raises:
        ValueError: the text is not a time.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
