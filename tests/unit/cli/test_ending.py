"""With which status a process ends that is ended in time."""

from __future__ import annotations

import pytest
import typer

from longrun.cli.ending import _status
from longrun.errors import LongrunError


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (typer.Exit(3), 3),
        (typer.Exit(), 0),
        (SystemExit(), 0),
        (SystemExit(4), 4),
        (SystemExit("a reason"), 1),
        (LongrunError("wrong"), 2),
        (ValueError(), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_it_is_the_one_that_python_or_main_would_end_with(error: BaseException, status: int) -> None:
    assert _status(error) == status
