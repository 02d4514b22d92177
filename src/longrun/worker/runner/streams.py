"""What stands in for `sys.stdout` and `sys.stderr` in a runner, and the ways around them: logging, warnings, threads."""

from __future__ import annotations

import asyncio
import faulthandler
import functools
import io
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from longrun.errors.catching import is_caught_by
from longrun.observe.output import Output, operator_stream, place, standard, take_over, text_stream
from longrun.worker.runner.capture import Capture, Speaker, speaker
from longrun.worker.runner.children import forked
from longrun.worker.runner.descriptors import Descriptors, write_all
from longrun.worker.runner.exception_text import class_name, plain_text
from longrun.worker.runner.lines import LONGEST
from longrun.worker.runner.raised import Raised, when_described
from longrun.worker.runner.raising import shielded

#: Seconds that code which prints waits for a reader of the log that is slow; for one that does not read at all, once.
_PATIENCE = 1.0


class Stream(io.BufferedIOBase):
    """The binary side of a text stream: what is written reaches the operator's log, and the job whose code writes it.

    Args:
        capture: knows whose code it is.
        name: `stdout` or `stderr`.
        number: the file descriptor that programs started with this stream get.
        operator: the operator's log.
    """

    mode = "wb"

    def __init__(self, capture: Capture, name: str, number: int, operator: Output) -> None:
        self.name = f"<{name}>"
        self._capture, self._number, self._operator = capture, number, operator
        self._place = place(number)
        self._kept = bytearray()
        self._whose: Speaker | None = None

    def writable(self) -> bool:
        """True."""
        return True

    def fileno(self) -> int:
        """1 or 2."""
        return self._number

    @shielded
    def write(self, data: Any) -> int:
        """Takes all of `data`."""
        said = bytes(data)
        # A program that has put a file in the descriptor's place wants to find it there.
        if forked() or place(self._number) != self._place:
            write_all(self._number, said)
            return len(said)
        with self._capture.lock:
            who = self._capture.current()
            if who is not self._whose:
                self.pass_on()
                self._whose = who
            # `print` writes each word and the end of the line apart; they are put together for the log, to which others write as well.
            self._kept += said
            if b"\n" in said or len(self._kept) > LONGEST:
                self.pass_on()
        return len(said)

    @shielded
    def flush(self) -> None:
        """Pass it on, whether the line has ended or not."""
        if self._kept and not forked():
            with self._capture.lock:
                self.pass_on()

    def pass_on(self) -> None:
        """As `flush`, under the lock."""
        if self._kept:
            data, self._kept = bytes(self._kept), bytearray()
            if self._whose is not None:
                # What was written to the descriptors came before.
                self._capture.drain()
                self._whose.written(-self._number, data)
            self._operator.write(data)


@contextmanager
def nobody() -> Iterator[None]:
    """What is written in here reaches the operator alone."""
    token = speaker.set(False)
    try:
        yield
    finally:
        speaker.reset(token)


def capture_output(pipes: Mapping[int, tuple[int, int]] | None) -> tuple[Capture, TextIO]:
    """Capture what this process prints from now on; to be called before the model is imported. Returns the operator's log too.

    Args:
        pipes: descriptor, 1 or 2 → (where to read what is written to it, the operator's log); None = nothing is captured.
    """
    if pipes is None:
        take_over("stdout", "stderr")
        return Capture(), operator_stream(standard(2))
    outputs = {number: Output(operator, patience=_PATIENCE) for number, (_, operator) in pipes.items()}
    for _, given in pipes.values():
        os.close(given)  # the output has its own, which programs do not inherit
    capture = Capture(Descriptors({number: (reads, outputs[number]) for number, (reads, _) in pipes.items()}))
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = Stream(capture, name, number, outputs[number])
        capture.pass_on.append(stream.pass_on)
        # Written through, for a text stream that keeps something back would mix the words of several jobs.
        text = text_stream(stream)
        setattr(sys, name, text)
        setattr(sys, f"__{name}__", text)
    _capture_logging(capture)
    _capture_warnings(capture)
    _mark_threads(capture)
    threading.excepthook = _thread_raised
    sys.unraisablehook = _cannot_be_raised
    operator = operator_stream(outputs[2])
    if faulthandler.is_enabled():
        faulthandler.enable(operator)
    return capture, operator


def _thread_raised(details: Any) -> None:
    """As Python's own `threading.excepthook`, for the operator alone."""
    if details.exc_value is not None and not is_caught_by(details.exc_value, SystemExit):
        name = ""
        with suppress(Exception):
            name = plain_text(details.thread.name)
        _write_for_the_operator(f"Exception in thread {name}", details.exc_value)


def _cannot_be_raised(details: Any) -> None:
    """As Python's own `sys.unraisablehook`, for the operator alone; the object itself is not asked what it is."""
    if details.exc_value is not None:
        what = class_name(type(details.object)) if details.object is not None else ""
        _write_for_the_operator(f"{details.err_msg or 'Exception ignored in'} {what}", details.exc_value)


def _write_for_the_operator(title: str, error: BaseException) -> None:
    def write(raised: Raised) -> None:
        with nobody():
            sys.stderr.write(f"{title}:\n{raised.text}")

    when_described(error, write)


def log_unretrieved(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """As an event loop's own handler of exceptions that nobody has asked for, without asking anything what it is on the loop's thread."""
    error, message = context.get("exception"), f"{context.get('message', 'Unhandled exception in event loop')}"
    logger = logging.getLogger("asyncio")
    if error is None:
        logger.error("%s", message)
    else:
        when_described(error, lambda raised: logger.error("%s\n%s", message, raised.text))


def _capture_logging(capture: Capture) -> None:
    """A record that a handler is about to write to one of our streams becomes a line of its own level, once, and without its traceback."""
    emit = logging.StreamHandler.emit

    def captured(handler: Any, record: logging.LogRecord) -> None:
        who = capture.current() if _is_ours(handler.stream) else None
        if who is not None and not getattr(record, "longrun_captured", False) and _is_for_callers(handler, record):
            record.longrun_captured = True
            message = _message_of(record)
            if message is not None:
                who.log(level_of(record.levelno), message)
        with nobody():
            emit(handler, record)

    logging.StreamHandler.emit = captured  # type: ignore[method-assign, assignment]


def _message_of(record: logging.LogRecord) -> str | None:
    """The message, as far as its parts can be written; one that cannot is the handler's to report."""
    for make in (record.getMessage, lambda: str(record.msg)):
        with suppress(Exception):
            return plain_text(make())
    return None


def _is_ours(stream: Any) -> bool:
    return isinstance(getattr(stream, "buffer", None), Stream)


def _is_for_callers(handler: logging.Handler, record: logging.LogRecord) -> bool:
    # asyncio logs exceptions that nobody has caught, with their text and the files they come from.
    return record.name != "asyncio" and (handler is not logging.lastResort or record.levelno >= logging.WARNING)


def level_of(number: int) -> str:
    """The level of an event, from that of a record."""
    for least, level in ((logging.ERROR, "error"), (logging.WARNING, "warning"), (logging.INFO, "info")):
        if number >= least:
            return level
    return "debug"


def _capture_warnings(capture: Capture) -> None:
    """A warning becomes a line, without the file and line that it comes from."""
    show = warnings.showwarning

    @functools.wraps(show)
    def captured(message: Any, category: Any, *details: Any, **named: Any) -> None:
        # Those are filename, lineno, file, line.
        elsewhere = named.get("file") or (details[2] if len(details) > 2 else None)
        who = capture.current() if elsewhere is None and _is_ours(sys.stderr) else None
        if who is not None:
            who.log("warning", f"{category.__name__}: {message}")
        with nobody():
            show(message, category, *details, **named)

    warnings.showwarning = captured


def _mark_threads(capture: Capture) -> None:
    start = threading.Thread.start

    def marked(thread: threading.Thread) -> None:
        if not forked():
            capture.mark(thread)
        start(thread)

    threading.Thread.start = marked  # type: ignore[method-assign, assignment]
