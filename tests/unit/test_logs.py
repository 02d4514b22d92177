"""What a log shows, and that it never stops the work."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import structlog

from longrun.log import Log
from longrun.observe.logs import configure_logging, configure_runner_logging
from longrun.observe.output import Output

pytest.importorskip("rich", reason="with it, structlog shows local variables by itself")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    monkeypatch.setattr(Output, "in_form", Output.in_form)
    monkeypatch.setattr(Log, "without_debug", False)
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    level = root.level
    yield
    root.setLevel(level)
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
    Log("longrun.test").warning("job raised")
    closed = io.StringIO()
    configure_runner_logging("info", closed)
    closed.close()
    Log("longrun.test").warning("job raised")


def raising(*_: object) -> str:
    raise RuntimeError("no line can be made")


class Unwritable:
    def __repr__(self) -> str:
        raise RecursionError

    __str__ = __repr__


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_a_logger_that_raises_changes_nothing_for_its_caller(level: str) -> None:
    """How structlog is set up is the choice of whoever has imported us, or of the models' file."""
    for setup in ({"processors": [raising]}, {"logger_factory": raising}, {"wrapper_class": raising}, {"context_class": raising}):
        structlog.reset_defaults()
        structlog.configure(**setup)  # type: ignore[arg-type]
        getattr(Log("longrun.test"), level)("said", job_id="j")
    raises = SimpleNamespace(**dict.fromkeys(["debug", "info", "warning", "error", "critical"], raising))
    getattr(Log("longrun.test", raises), level)("said")


def test_of_a_member_that_cannot_be_written_the_class_is() -> None:
    stream = io.StringIO()
    configure_runner_logging("info", stream)
    Log("longrun.test").warning("said \ud800", job_id="j", value=Unwritable())
    line = json.loads(stream.getvalue())
    assert (line["event"], line["job_id"], line["value"], line["log_error"]) == ("said \ud800", "j", "<Unwritable>", "RecursionError")


def test_a_record_that_cannot_be_written_does_not_stop_the_library_that_logs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    configure_logging()
    logging.getLogger("library").error("%s", Unwritable())
    assert json.loads(capsys.readouterr().err)["log_error"] == "RecursionError"


def test_the_line_about_lost_lines_has_the_form_of_the_others() -> None:
    structlog.contextvars.bind_contextvars(value=Unwritable())
    configure_runner_logging("info", io.StringIO())
    try:
        line = json.loads(Output.in_form(3))
    finally:
        structlog.contextvars.clear_contextvars()
    assert (line["event"], line["lines"], line["level"]) == ("lines of the log were lost", 3, "warning")


@pytest.mark.parametrize(("level", "kept"), [("debug", ["looked at", "said"]), ("info", ["said"])])
def test_lines_for_debugging_are_written_when_they_were_asked_for(level: str, kept: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure_logging(level)
    log = Log("part")
    log.debug("looked at")
    log.info("said")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == kept
