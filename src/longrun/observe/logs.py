"""Logging: structlog for our own lines, the same form for what libraries log. Inputs and outputs of jobs are never logged."""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import Any, TextIO, cast

import structlog

from longrun.log import Log
from longrun.observe.output import Output

log = Log("longrun.logs")


def configure_logging(level: str = "info", *, process: str = "") -> None:
    """Log to stderr: readable lines on a terminal, JSON lines elsewhere.

    Args:
        level: debug, info, warning or error.
        process: which of several that share a log; a member `process` of each line. Empty = none.
    """
    handler = _Handler(sys.stderr)
    handler.setFormatter(_configure(level, sys.stderr, process))
    Log.without_debug = level != "debug"
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries are chatty: their lines count from warning on, unless everything was asked for.
    root.setLevel(_threshold(level) if level == "debug" else max(_threshold(level), logging.WARNING))


def configure_runner_logging(level: str, operator: TextIO) -> structlog.typing.FilteringBoundLogger:
    """As `configure_logging` where models run: our lines go to `operator`, and `logging` is left to the model's author.

    Its root logger has no handler, so that `logging.basicConfig` does what it says. Records of those who configure nothing are written by
    `logging.lastResort`, from warning on, in our form.

    Returns the logger for lines of ours: what the author makes of structlog later, and what is bound in context variables, is not in it.
    """
    last = logging.StreamHandler(sys.stderr)
    last.setFormatter(_configure(level, operator))
    last.setLevel(logging.DEBUG if level == "debug" else logging.WARNING)
    logging.lastResort = last
    if level == "debug":
        logging.getLogger().setLevel(logging.DEBUG)
    known = structlog.get_config()
    processors = [each for each in known["processors"] if each is not structlog.contextvars.merge_contextvars]
    ours = structlog.wrap_logger(known["logger_factory"](), processors=processors, wrapper_class=known["wrapper_class"], context_class=dict)
    return cast(structlog.typing.FilteringBoundLogger, ours.bind())


def _threshold(level: str) -> int:
    number: int = getattr(logging, level.upper())
    return number


def _configure(level: str, stream: TextIO, process: str = "") -> logging.Formatter:
    """Set structlog up, and return what gives other records the same form."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if process:
        shared.append(_naming(process))
    terminal = stream.isatty()
    # Tracebacks as Python writes them: the renderer's own choice, where `rich` is installed, shows local variables, and so inputs of jobs.
    console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer: structlog.typing.Processor = console if terminal else structlog.processors.JSONRenderer()
    last = [renderer] if terminal else [structlog.processors.format_exc_info, renderer]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(_threshold(level)),
        logger_factory=lambda *_: _LineLogger(stream),
        cache_logger_on_first_use=False,
    )
    # Nobody else's values are in such a line, for it must not fail.
    Output.in_form = partial(_lost, [*shared[1:], *last])
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
    )


def _lost(processors: list[structlog.typing.Processor], lines: int) -> str:
    line: Any = {"event": "lines of the log were lost", "lines": lines}
    for process in processors:
        line = process(None, "warning", line)
    return cast(str, line)


class _Handler(logging.StreamHandler[TextIO]):
    """As Python's own, which lets some exceptions through."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except Exception as error:
            log.error("a record cannot be logged", logger=record.name, log_error=type(error).__name__)


class _LineLogger:
    """Writes a line in one write: processes that share a stream must not write into each other's lines.

    It has no lock: a forked child would have a copy that nobody releases.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write it."""
        self._stream.write(f"{line}\n")

    debug = info = warning = error = critical = exception = fatal = log = failure = err = warn = msg


def _naming(process: str) -> structlog.typing.Processor:
    def name(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {**event, "process": process}

    return name
