"""What a log shows, and that it never stops the work."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
import structlog

from longrun.observe.logs import configure_runner_logging

pytest.importorskip("rich", reason="with it, structlog shows local variables by itself")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    yield
    structlog.reset_defaults()


def fails(prompt: str) -> None:
    raise ValueError(len(prompt))


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()], ids=["terminal", "file"])
def test_a_traceback_shows_no_local_variables(stream: io.StringIO) -> None:
    configure_runner_logging("info", stream)
    secret = "a caller's words"
    try:
        fails(secret)
    except ValueError as error:
        structlog.get_logger().error("failed", exc_info=error)
        record = logging.LogRecord("library", logging.ERROR, "f.py", 1, "said", (), (type(error), error, error.__traceback__))
        last = logging.lastResort
        assert last is not None
        said = last.format(record)
    for text in (stream.getvalue(), said):
        assert "ValueError: 16" in text and "test_logs.py" in text
        assert secret not in text


def test_a_log_that_takes_no_line_does_not_stop_what_runs() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    configure_runner_logging("info", Full())
    structlog.get_logger().warning("job raised")
    closed = io.StringIO()
    configure_runner_logging("info", closed)
    closed.close()
    structlog.get_logger().warning("job raised")
