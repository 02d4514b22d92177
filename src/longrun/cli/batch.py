"""`longrun batch`: submit many inputs and wait for all of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from longrun.cli.http import FAILED, connect
from longrun.cli.options import AsJson, Key, Url, usage
from longrun.cli.run import leave_running
from longrun.cli.show import print_json, print_output, say
from longrun.cli.values import read_json

if TYPE_CHECKING:
    from longrun.client import BatchOptions, RemoteBatch

CANCELED = 3


def batch(
    model: Annotated[str, typer.Argument(help="Name of the model; `longrun models` lists them.")],
    inputs: Annotated[str, typer.Argument(metavar="FILE", help="JSON lines, an input each; - for stdin.")],
    *,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the results there, a line of JSON each. Default: stdout.")
    ] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="9 is most urgent. Default: 5.")] = None,
    url: Url = None,
    key: Key = None,
    timeout: Annotated[float | None, typer.Option(min=0.001, help="Seconds to wait; then exit 124, and the batch goes on.")] = None,
    as_json: AsJson = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the batch's id and leave.")] = False,
) -> None:
    """Submit many inputs at once, wait for all, and print the results in the order of the inputs.

    Exit code: 0 all succeeded, 1 some did not, 2 wrong input, 3 canceled, 5 server not reachable, 124 --timeout is over, 130 Ctrl-C.
    With 124 and 130 the batch goes on.
    """
    with usage():
        client = connect(url, key, say)
    with leave_running(client.url, timeout) as seen:
        options: BatchOptions = {} if priority is None else {"priority": priority}
        seen["sent"] = True
        made = client.batch(model, _read(inputs), **options)
        seen["batch"] = made.id
        if no_wait:
            print_json(made.body) if as_json else print_output(made.id)
            return
        made.wait(progress=_tell if sys.stderr.isatty() else None)
        _write(made, save)
    if as_json:
        print_json(made.body)
    counts = made.counts
    if counts["succeeded"] != counts["total"]:
        say(f"{made.id} {made.status}: " + ", ".join(f"{number} {name}" for name, number in counts.items() if number))
    raise typer.Exit(CANCELED if made.status == "canceled" else 0 if counts["succeeded"] == counts["total"] else FAILED)


def _read(given: str) -> Iterator[Any]:
    try:
        with usage():
            yield from _lines(sys.stdin) if given == "-" else _lines_of(Path(given))
    except OSError as error:
        raise typer.BadParameter(f"{given}: {error.strerror}") from None


def _lines_of(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8-sig") as file:
        yield from _lines(file)


def _lines(file: TextIO) -> Iterator[Any]:
    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                yield read_json(line)
            except ValueError as error:
                raise ValueError(f"line {number}: not JSON: {error}") from None


def _tell(made: RemoteBatch) -> None:
    counts = made.counts
    sys.stderr.write(f"\r{made.progress:7.1%}  {counts['total'] - counts['pending']} of {counts['total']}")
    sys.stderr.write("\n" if made.terminal else "")
    sys.stderr.flush()


def _write(made: RemoteBatch, save: Path | None) -> None:
    with save.open("w", encoding="utf-8") if save is not None else nullcontext(sys.stdout) as file:
        for item in made.results():
            row = {"index": item.index, "id": item.id, "status": item.status}
            row |= {"output": item.output} if item.succeeded else {"error": item.error}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
