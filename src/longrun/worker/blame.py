"""Who is suspected of a crash, and how long suspects keep others waiting: pure. See docs/decisions/0004-who-is-blamed-for-a-crash.md."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

_PARTS = 4
#: Seconds for which a group that was suspected once keeps others waiting, where no further runner can be had; four times longer after
#: each crash in company.
_PATIENCE, _GROWTH, _MOST = 5.0, 4.0, 10
#: A group of one: a job that runs once more in its attempt, by itself.
_ONCE_MORE = "alone-"


def groups_of(aboard: Mapping[str, str], *, apart: bool = False) -> dict[str, str]:
    """The suspects of one crash in up to four groups: job id → group. Its name ends with the number of crashes for which it had company.

    Each group runs on its own, and the one that crashes again is divided again: a culprit among n is alone after log4 n crashes, and an
    innocent runs that often at most.

    Args:
        aboard: job id → the group it was in before, empty = none.
        apart: they were one group, and had the runner to themselves. So the crash came within its patience, and its parts need no more.
    """
    crash = secrets.token_hex(4)
    times = (not apart) + max((times_suspected(group) for group in aboard.values()), default=0)
    return {job_id: f"{crash}-{number % _PARTS}.{times}" for number, job_id in enumerate(aboard)}


def times_suspected(group: str) -> int:
    """The crashes that led to a group, and for which its members had company."""
    number = group.rpartition(".")[2]
    return int(number) if number.isdigit() else int(bool(group))


def patience(group: str) -> float:
    """Seconds for which a group may keep others waiting: until the runner is empty, and again while it has the runner to itself.

    A culprit that crashes only after a longer time has company then, and all of them are suspects: but next time for four times as long.
    """
    return float(_PATIENCE * _GROWTH ** min(_MOST, times_suspected(group) - 1))


def once_more(job_id: str) -> str:
    """The group of a job for which memory was short beside others."""
    return f"{_ONCE_MORE}{job_id}"


def is_once_more(group: str) -> bool:
    """Whether it is such a group: its job is in an attempt that goes on."""
    return group.startswith(_ONCE_MORE)


def later(group: str) -> str:
    """The same group, with more patience."""
    name, dot, _ = group.rpartition(".")
    return f"{name if dot else group}.{times_suspected(group) + 1}"


def is_last_chance(group: str) -> bool:
    """Whether the group is a job that one more crash would end. It is called like the job."""
    return group.startswith("job_")
