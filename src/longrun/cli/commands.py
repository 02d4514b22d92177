"""All commands of `longrun`."""

from __future__ import annotations

from typing import Annotated

import typer

from longrun.cli import batch, dead, doctor, files, jobs, roles, run, serve
from longrun.cli.show import write


def _print_version(wanted: bool) -> None:
    if wanted:
        from longrun.version import VERSION

        write(f"longrun {VERSION}\n")
        raise typer.Exit


def _root(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Turn slow AI calls into an asynchronous HTTP API.

    `longrun serve app.py` runs it, `longrun run MODEL key=value` uses it.
    """


def build() -> typer.Typer:
    """The commands."""
    app = typer.Typer(name="longrun", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.callback()(_root)
    for command in (serve.serve, roles.api, roles.worker, doctor.doctor, run.run, batch.batch):
        app.command()(command)
    app.add_typer(jobs.app, name="jobs")
    app.add_typer(files.app, name="files")
    app.add_typer(dead.app, name="dead")
    app.command()(jobs.signal)
    app.command()(jobs.models)
    return app
