"""How a stream ends whose job, or whose events, the store has lost."""

from __future__ import annotations

import time

import msgspec
from starlette.types import Scope

from longrun.api.problems import document
from longrun.errors import EventsLost, JobLost, Problem
from longrun.jobs.events import Event

#: What may end a stream with an error.
LOST = (JobLost, EventsLost)


def error_event(problem: Problem, scope: Scope) -> Event:
    """The last event of such a stream. Its data is the problem document.

    It is no entry of the log: with the seq 0 a reader that connects again by itself, as browsers do, begins with the first event.
    """
    return Event(0, 0, time.time_ns() // 1_000_000, "error", msgspec.json.encode(document(problem, scope)))
