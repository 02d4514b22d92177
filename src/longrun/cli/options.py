"""Options that several commands share, and usage errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

Url = Annotated[
    str | None, typer.Option("--url", help="URL of the server. Default: LONGRUN_URL, else this machine at LONGRUN_PORT or 8000.")
]
Key = Annotated[str | None, typer.Option("--key", help="API key. Default: LONGRUN_KEY.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the server's JSON.")]

App = Annotated[str | None, typer.Argument(help="What to serve: app.py, package.module, or either with :Name. Default: LONGRUN_APP.")]
Host = Annotated[str | None, typer.Option(help="Address to listen on; anything but loopback needs LONGRUN_API_KEYS.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 = any free one. Default: 8000.")]
ApiProcesses = Annotated[int | None, typer.Option(help="API processes that share the port. Default: 1.")]
Data = Annotated[Path | None, typer.Option(help="Folder of the embedded Valkey. Default: .longrun")]
Processes = Annotated[int | None, typer.Option(help="Runner processes per model. Default: the model's own setting.")]
Concurrency = Annotated[int | None, typer.Option(help="Jobs at once in a runner. Default: the model's own setting.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps. Default: auto.")]
Queues = Annotated[str | None, typer.Option(help="Queues to serve, comma-separated. Default: all.")]
Rehearse = Annotated[bool | None, typer.Option("--rehearse", help="Let jobs go at every wait for their steps, to try how they replay.")]


@contextmanager
def usage() -> Iterator[None]:
    """A ValueError inside is the user's: it is shown as a usage error, exit code 2."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
