"""Where the programs are kept."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

from longrun import Job

Program = Callable[[Job], Any]
PROGRAMS: dict[str, Program] = {}
tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")
#: For a child to be ready, or to end, on a busy machine.
LONG = 30.0


def program(function: Program) -> Program:
    PROGRAMS[function.__name__] = function
    return function
