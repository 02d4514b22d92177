"""What commands print: results and tables on stdout, all else on stderr. Rich on a terminal, plain text in a pipe."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from longrun.errors import LongrunError

if TYPE_CHECKING:
    from rich.progress import Progress

    from longrun.client import Event, RemoteJob

Json = dict[str, Any]

EXIT_CODES = {"succeeded": 0, "failed": 1, "canceled": 3, "expired": 4}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def say(text: str) -> None:
    """A line for the user on stderr, in one write: other processes write there too."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def shown_url(url: str) -> str:
    """A store's URL without its credentials, which may stand before the host or behind a `?`."""
    return url.partition("?")[0].rpartition("@")[2]


def print_json(value: Any) -> None:
    """Indented JSON on stdout."""
    write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_output(output: Any) -> None:
    """A job's output on stdout: text as it is, anything else as JSON."""
    if isinstance(output, str):
        write(output if output.endswith("\n") else f"{output}\n")
    else:
        print_json(output)


def is_stored_file(value: Any) -> bool:
    """Whether a part of an output is a file on the server (`longrun.client.RemoteFile`)."""
    return isinstance(value, dict) and hasattr(value, "save")


def write(text: str) -> None:
    """Text on stdout, at once; characters that the terminal's encoding lacks become `?`."""
    encoding = sys.stdout.encoding or "utf-8"
    with _writing():
        sys.stdout.write(text.encode(encoding, errors="replace").decode(encoding))
        sys.stdout.flush()


def write_bytes(data: bytes) -> None:
    """Bytes on stdout, at once, as they are."""
    with _writing():
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


class OutputFailed(LongrunError):
    """A result cannot be written to stdout."""


@contextmanager
def _writing() -> Iterator[None]:
    """End as other programs do: without a word when the reader has seen enough, with an error when the disk is full."""
    try:
        yield
    except OSError as error:
        # What Python has kept for stdout it tries to write once more when it ends.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
        if isinstance(error, BrokenPipeError):
            raise SystemExit(128 + signal.SIGPIPE) from None
        raise OutputFailed(f"stdout cannot be written: {error.strerror}") from None


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table for a person; for a pipe one line per row, tab-separated, without headers."""
    if not sys.stdout.isatty():
        for row in rows:
            write("\t".join(_CONTROL.sub(" ", cell) for cell in row) + "\n")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = list(rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, header in enumerate(headers):
        # The first column is an id or a name to copy: never shortened.
        table.add_column(header, min_width=max((len(row[0]) for row in cells), default=None) if number == 0 else None)
    for row in cells:
        table.add_row(*(Text(_CONTROL.sub(" ", cell)) for cell in row))
    with _writing():
        Console().print(table)


def print_list(value: Any, headers: Sequence[str], rows: Iterable[Sequence[str]], *, as_json: bool) -> None:
    """The server's JSON, or a table of it."""
    print_json(value) if as_json else print_table(headers, rows)


def describe(job: Json) -> str:
    """The state of a job in a few words."""
    status = str(job["status"])
    if status == "queued" and job.get("position") is not None:
        return f"queued, position {job['position']}"
    if status in ("scheduled", "retrying") and job.get("next_attempt_at"):
        reason = f" after {job['error'].get('code')}" if job.get("error") else ""
        return f"{status}, runs at {job['next_attempt_at']}{reason}"
    progress = job.get("progress")
    return f"{status}, {describe_progress(progress)}" if progress and not job["terminal"] else status


def describe_progress(progress: Json) -> str:
    """Progress in a few words, such as `42% decoding: page 3`."""
    text = ": ".join(str(progress[name]) for name in ("step", "message") if progress.get(name))
    return f"{progress.get('fraction') or 0:.0%}{' ' if text else ''}{_CONTROL.sub(' ', text)}"


def describe_event(event: Event, job_id: str = "ID") -> str | None:
    """An event of a job in a few words; None = nothing worth a line (output, the start of the log, the end)."""
    kind, data = event.type, event.data
    if kind == "started":
        return "running" if event.attempt == 1 else f"running, attempt {event.attempt}"
    if kind == "progress":
        return f"running, {describe_progress(data)}"
    if kind == "log":
        return f"{data.get('level', 'info')}: {_CONTROL.sub(' ', str(data.get('message', '')))}"
    if kind == "retrying":
        reason = data.get("reason") or {}
        return f"retrying at {data.get('next_attempt_at')} after {reason.get('code', 'an error')}: {reason.get('detail', '')}"
    if kind == "step":
        return _CONTROL.sub(" ", f"step {data.get('key')}: {data.get('status')}")
    if kind == "waiting":
        return describe_wait(data, job_id)
    return "canceling" if kind == "canceling" else None


def describe_wait(data: Json, job_id: str) -> str:
    """What a job waits for, and where the question stands."""
    names = [_CONTROL.sub(" ", str(name)) for name in data.get("for") or []]
    if not names or names == ["steps"]:
        return "waiting for its steps"
    until = f" until {data['until']}" if data.get("until") else ""
    return f"waiting{until} to be answered: {', '.join(names)}; see `longrun jobs show {job_id}`"


def describe_failure(job: Json) -> str:
    """Why a job ended without an output, and what is known of the death of its process: a line each."""
    error = job.get("error") or {}
    reason = f": {describe_error(error)}" if error else ""
    return "\n".join([f"{job['id']} {job['status']}{reason}", *(f"  {line}" for line in _death(error))])


def describe_error(error: Json) -> str:
    """A job's problem in one line: code, detail, class of the exception."""
    cause = f" ({error['cause']})" if error.get("cause") else ""
    return _CONTROL.sub(" ", f"{error.get('code')}: {error.get('detail') or error.get('title', '')}{cause}")


def _death(error: Json) -> list[str]:
    lines = [f"{name.replace('_', ' ')}: {error[name]}" for name in ("signal", "exit_code") if error.get(name) is not None]
    if error.get("peak_memory") is not None:
        lines.append(f"peak memory: {error['peak_memory'] / (1 << 20):,.0f} MiB")
    return [*lines, f"hint: {error['hint']}"] if error.get("hint") else lines


class StreamedText:
    """The text that a job has yielded, as it is written on stdout.

    What was written cannot be taken back. When a later attempt repeats the same text, only what is new is written; when it says
    something else, its text begins again on a new line.
    """

    def __init__(self) -> None:
        self.written = ""
        self._attempt = 0
        self._text = ""

    def take(self, event: Event) -> str:
        """What to write for this event."""
        if event.type == "started" and event.attempt != self._attempt:
            self._attempt, self._text = event.attempt, ""
        value = event.data.get("value") if event.type == "output" else None
        if not isinstance(value, str):
            return ""
        self._text += value
        return self._catch_up(self._text)

    def finish(self, output: Any) -> str:
        """What is still missing when the job has succeeded with `output`."""
        if not isinstance(output, str):
            return ""
        missing = self._catch_up(output, final=True)
        return missing if self.written.endswith("\n") else f"{missing}\n"

    def _catch_up(self, text: str, *, final: bool = False) -> str:
        if text.startswith(self.written):
            missing = text[len(self.written) :]
        elif self.written.startswith(text) and not final:
            return ""
        else:
            missing = f"\n{text}"
        self.written = text
        return missing


class Watch:
    """Shows a running job: text that it yields on stdout, everything else on stderr.

    Args:
        stream_text: False = stdout is for the final result alone.
    """

    def __init__(self, *, stream_text: bool) -> None:
        self.text = StreamedText()
        self._stream_text = stream_text
        self._last, self._id = "", "ID"
        # Where both go to one terminal, a line for the user must not begin in the middle of the text. Asked before there is a bar: the
        # stdout that rich puts in place for it says, before rich 15, that it is no terminal.
        self._shared = sys.stderr.isatty() and sys.stdout.isatty()
        self._bar = _bar() if sys.stderr.isatty() else None
        self._at_start = True

    def on_job(self, job: RemoteJob) -> None:
        """The job as it is now."""
        self._id = job.id
        self._show(describe(job.body), job.progress.fraction if job.progress else None)

    def on_event(self, event: Event) -> None:
        """One event of its log."""
        new = self.text.take(event) if self._stream_text else ""
        if new:
            self.close()  # a moving bar and growing text would tear each other apart
            write(new.removeprefix("\n") if self._shared and self._at_start else new)
            self._at_start = new.endswith("\n")
        line = describe_event(event, self._id)
        if line is not None:
            self._show(line, event.data.get("fraction"), lasting=event.type in ("log", "retrying"))

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show(self, text: str, fraction: float | None, *, lasting: bool = False) -> None:
        if self._bar is not None and not lasting:
            from rich.markup import escape

            self._bar.update(self._bar.task_ids[0], description=escape(text), completed=fraction, total=None if fraction is None else 1.0)
        elif self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        elif text != self._last and not (self.text.written and sys.stderr.isatty() and not lasting):
            say(text if self._at_start or not self._shared else f"\n{text}")
            self._at_start = True
        self._last = text


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), BarColumn(bar_width=24), TimeElapsedColumn(), TextColumn("{task.description}"))
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    bar.add_task("", total=None)
    bar.start()
    return bar
