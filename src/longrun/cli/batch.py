"""`longrun batch`: submit many inputs at once, wait for their jobs, and write what came of each."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from longrun.cli.http import FAILED, connect
from longrun.cli.options import Key, Url, usage
from longrun.cli.run import leave_running
from longrun.cli.show import EXIT_CODES, describe_error, print_json, print_output, say, write
from longrun.cli.values import read_json

if TYPE_CHECKING:
    from longrun.client import BatchItem, BatchOptions, Client, RemoteBatch

_FAILURES_SHOWN = 5  #: reasons on stderr; the results have them all


def batch(
    model: Annotated[str, typer.Argument(help="Name of the model; or the id of a batch, to wait for that one.")],
    inputs: Annotated[str | None, typer.Argument(metavar="INPUTS.jsonl", help="One input as a JSON object per line; - for stdin.")] = None,
    *,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="9 is most urgent. Default: 5.")] = None,
    url: Url = None,
    key: Key = None,
    timeout: Annotated[float | None, typer.Option(min=0.001, help="Seconds to wait; then exit 124, and the batch goes on.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the server's JSON of the batch, and no results.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the batch's id and exit.")] = False,
    save: Annotated[Path | None, typer.Option(metavar="OUT.jsonl", help="Write the results there, into a new file.")] = None,
) -> None:
    """Submit a job for each line of a file, wait for all, print the results: a line of JSON for each, in the order of the inputs.

    A line is {"index", "id", "status", "output", "error"}. Exit code: 0 all succeeded, 1 one failed, 2 wrong input, 3 one was canceled,
    4 one expired, 5 server not reachable, 124 --timeout is over, 130 Ctrl-C. With 124 and 130 the batch goes on.
    """
    with usage():
        client = connect(url, key, say)
        if (inputs is None) != model.startswith("batch_"):
            raise ValueError("give a model and its inputs, or the id of a batch")
        if no_wait and save is not None:
            raise ValueError("--save is for results, and --no-wait does not wait for them")
    with _new_file(save) as out:
        with leave_running(client.url, timeout) as seen:
            found = client.get_batch(model) if inputs is None else _submitted(client, model, inputs, priority, seen)
            seen["batch"] = found.id
            if no_wait:
                print_json(found.body) if as_json else print_output(found.id)
                return
            code = _finish(found, None if as_json and out is None else sys.stdout if out is None else out)
        if as_json:
            print_json(found.body)
    raise typer.Exit(code)


def _submitted(client: Client, model: str, inputs: str, priority: int | None, seen: dict[str, Any]) -> RemoteBatch:
    options: BatchOptions = {} if priority is None else {"priority": priority}

    def values() -> Iterator[Any]:
        yield from _read_inputs(inputs)
        seen["sent"] = True

    with usage():
        found = client.batch(model, values(), **options)
    seen["batch"] = found.id  # before it is said: who reads it may press Ctrl-C at once
    say(f"{found.id}: {found.counts['total']:,} jobs")
    return found


def _read_inputs(path: str) -> Iterator[Any]:
    """The inputs of a file of JSON lines; blank lines are skipped.

    Raises:
        ValueError: it cannot be read, a line of it is not JSON, or it holds no input.
    """
    found = False
    try:
        with nullcontext(sys.stdin.buffer) if path == "-" else Path(path).open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    found = True
                    yield _parsed(line, f"{path}, line {number}")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    if not found:
        raise ValueError(f"{path} holds no input; give one as a JSON object per line")


def _parsed(line: bytes, where: str) -> Any:
    try:
        return read_json(line.decode())
    except ValueError as error:
        raise ValueError(f"{where}: not JSON: {error}") from None


@contextmanager
def _new_file(path: Path | None) -> Iterator[TextIO | None]:
    """A new file, which is removed again if the block fails; None = none is wanted."""
    if path is None:
        yield None
        return
    with usage():
        try:
            file = path.open("x", encoding="utf-8")
        except OSError as error:
            raise ValueError(f"--save {path}: {error.strerror}") from None
    try:
        with file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _finish(found: RemoteBatch, out: TextIO | None) -> int:
    """Wait for the end, write the results to `out` (None = nowhere), say how it went, and return the exit code."""
    found.wait(progress=True)
    failures = 0 if out is None else _write_results(found, out)
    counts = found.counts
    say(f"{found.id} {found.status}: " + ", ".join(f"{counts[status]:,} {status}" for status in EXIT_CODES if counts.get(status)))
    # A job that succeeded and is no longer kept counts as succeeded, and yet its output is missing.
    return next((code for status, code in EXIT_CODES.items() if code and counts.get(status)), FAILED if failures else 0)


def _write_results(found: RemoteBatch, out: TextIO) -> int:
    """Write a line for each input, and return how many have no output."""
    failures = 0
    for item in found.results():
        line = json.dumps(_body_of(item), ensure_ascii=False) + "\n"
        write(line) if out is sys.stdout else out.write(line)
        failures += not item.succeeded
        if not item.succeeded and failures <= _FAILURES_SHOWN:
            say(f"{item.index}: {item.id} {item.status}{f': {describe_error(item.error)}' if item.error else ''}")
    if failures > _FAILURES_SHOWN:
        say(f"… and {failures - _FAILURES_SHOWN:,} more")
    return failures


def _body_of(item: BatchItem) -> dict[str, Any]:
    return {"index": item.index, "id": item.id, "status": item.status, "output": item.output, "error": item.error}
