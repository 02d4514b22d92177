"""`longrun files …`: store files for inputs, look at them, fetch them, remove them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from longrun.cli.http import for_each
from longrun.cli.jobs import open_client, print_job
from longrun.cli.options import AsJson, Key, Url, usage
from longrun.cli.show import print_json, print_list, write

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Store, show, fetch and remove files.")


@app.command("upload")
def upload(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files to store.")],
    *,
    name: Annotated[str | None, typer.Option(help="Another name than the one it has here. For one file.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Store files, to give their ids to jobs: longrun run thumbnail image=file_…

    In a pipe: id, size, type, name; tab-separated, without a header.
    """
    client = open_client(url, key)
    with usage():
        if name is not None and len(paths) > 1:
            raise ValueError("--name is for one file")
        for path in paths:
            if not path.is_file():
                raise ValueError(f"{path} is no file")
    stored, code = for_each(paths, lambda path: client.upload(path, name))
    rows = [(file.id, str(file.size), file.content_type, file.name) for file in stored]
    print_list(stored, ("ID", "SIZE", "TYPE", "NAME"), rows, as_json=as_json)
    raise typer.Exit(code)


@app.command("show")
def show(
    file_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a file.")], url: Url = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Show a file's size, type and name, and a URL that works without a key for 15 minutes."""
    file = open_client(url, key).file(file_id)
    print_json(file) if as_json else print_job(file)


@app.command("get")
def get(
    files: Annotated[list[str], typer.Argument(metavar="ID|URL...", help="Files to fetch.")],
    *,
    to: Annotated[Path, typer.Option(help="A folder; for one file also its new name.")] = Path(),
    url: Url = None,
    key: Key = None,
) -> None:
    """Fetch files into this folder, or where --to says, and print their paths. In a folder, a number is added to a name that is taken."""
    client = open_client(url, key)
    with usage():
        if len(files) > 1 and not to.is_dir():
            raise ValueError(f"--to {to}: there is no such folder")
    fetched, code = for_each(files, lambda file: client.download(file, to))
    write("".join(f"{path}\n" for path in fetched))
    raise typer.Exit(code)


@app.command("rm")
def rm(file_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of files.")], url: Url = None, key: Key = None) -> None:
    """Remove files: new jobs cannot use them. Jobs that use them keep them."""
    client = open_client(url, key)
    _, code = for_each(file_ids, client.delete_file)
    raise typer.Exit(code)
