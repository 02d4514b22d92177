"""`longrun run`: submit a job and follow it to its end."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from longrun.cli.http import connect
from longrun.cli.options import AsJson, Key, Url, usage
from longrun.cli.show import (
    EXIT_CODES,
    Watch,
    describe_failure,
    is_stored_file,
    print_json,
    print_output,
    print_table,
    say,
    write,
    write_bytes,
)
from longrun.cli.values import parse_assignments, read_json

if TYPE_CHECKING:
    from longrun.client import Options, RemoteJob

INTERRUPTED, OUT_OF_TIME = 130, 124
_LOOK = 2.0  # seconds after which the position in the queue is read again


def run(
    model: Annotated[str, typer.Argument(help="Name of the model; `longrun models` lists them.")],
    fields: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Input fields; key=@path sends the file, or for a text field its content."),
    ] = None,
    *,
    given: Annotated[
        str | None, typer.Option("--input", help="The input as a JSON object, @FILE, or - for stdin; KEY=VALUE overrides it.")
    ] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="9 is most urgent. Default: 5.")] = None,
    url: Url = None,
    key: Key = None,
    timeout: Annotated[float | None, typer.Option(min=0.001, help="Seconds to wait; then exit 124, and the job goes on.")] = None,
    as_json: AsJson = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the job's id and exit.")] = False,
    save: Annotated[Path | None, typer.Option(metavar="DIR", help="Save the files of the output there.")] = None,
) -> None:
    """Submit a job, follow it, print its output.

    Text is printed as it comes; for an output that is a file, its URL, size and type are. Exit code: 0 succeeded, 1 failed,
    2 wrong input, 3 canceled, 4 expired, 5 server not reachable, 124 --timeout is over, 130 Ctrl-C. With 124 and 130 the job goes on.
    """
    with usage():
        client = connect(url, key, say)
        base = read_input(given)
        if save is not None and not save.is_dir():
            raise ValueError(f"--save {save}: there is no such folder")
    with leave_running(client.url, timeout) as seen:
        schema = client.model(model)["input_schema"]
        with usage():
            fields_given = base | parse_assignments(fields or [], schema)
        options: Options = {} if priority is None else {"priority": priority}
        seen["sent"] = True
        job = client.submit(model, fields_given, **options)
        seen["job"] = job.id
        if no_wait:
            print_json(job.body) if as_json else print_output(job.id)
            return
        code = finish(job, as_json=as_json, save=save)
    raise typer.Exit(code)


def finish(job: RemoteJob, *, as_json: bool, save: Path | None = None) -> int:
    """Follow a job to its end, print what it gave, and return the exit code. With `save` its files are saved in that folder."""
    watch = Watch(stream_text=not as_json)
    try:
        follow(job, watch)
    finally:
        watch.close()
    if as_json:
        print_json(_whole(job))
        if save is not None and job.succeeded:
            say("\n".join(str(path) for path in _saved(job.result(), save)[1]))
    elif job.succeeded:
        output = job.result()
        _print_result(output if save is None else _saved(output, save)[0], watch)
    else:
        if watch.text.written:
            write("\n")
        say(describe_failure(job.body))
    return EXIT_CODES.get(job.status, 1)


def follow(job: RemoteJob, watcher: Watch) -> None:
    """Wait for the end of `job` and show the way there: its place while it waits in the queue, then its events. It then is as it ended.

    Raises:
        Unreachable: the server has not answered for 10 s; the job goes on without us.
        ApiError: the server no longer shows the job.
    """
    watcher.on_job(job)
    while job.status in ("scheduled", "queued"):
        watcher.on_job(job.refresh(wait=_LOOK))
    if not job.terminal:
        for event in job.events():
            watcher.on_event(event)
    job.wait()


def _whole(job: RemoteJob) -> dict[str, Any]:
    """The job's JSON; the last event leaves a large output out."""
    return job.refresh().body if job.succeeded and "output" not in job.body else job.body


def _print_result(output: Any, watch: Watch) -> None:
    if isinstance(output, bytes):
        write_bytes(output)
    elif is_stored_file(output):
        print_table(("URL", "SIZE", "TYPE"), [(output["url"], str(output["size"]), output["content_type"])])
    elif watch.text.written and isinstance(output, str):
        write(watch.text.finish(output))
    else:
        print_output(output)


def _saved(output: Any, folder: Path) -> tuple[Any, list[Path]]:
    """The output with the paths of its files, which are saved, in their place; and these paths."""
    paths: list[Path] = []

    def save(value: Any) -> Any:
        if is_stored_file(value):
            paths.append(value.save(folder))
            return str(paths[-1])
        if isinstance(value, dict):
            return {name: save(each) for name, each in value.items()}
        return [save(each) for each in value] if isinstance(value, list) else value

    return save(output), paths


@contextmanager
def leave_running(url: str, timeout: float | None = None) -> Iterator[dict[str, Any]]:
    """Ctrl-C, the time limit and a lost server end the waiting, not the job: say how to go on with it.

    Yields:
        a dict to put the id into, as `job` or `batch`, once it is known, and `sent` before the submit.

    Raises:
        typer.Exit: 130 after Ctrl-C, 124 when `timeout` seconds are over.
    """
    seen: dict[str, Any] = {}

    def ring(*_: object) -> None:
        # The same way out as Ctrl-C: no library on the way may take it for a failure of its own and try again.
        seen["late"] = True
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, timeout or 0)
    try:
        yield seen
    except KeyboardInterrupt:
        _say_how_to_go_on(url, seen)
        raise typer.Exit(OUT_OF_TIME if seen.get("late") else INTERRUPTED) from None
    except Exception as error:
        if (seen.get("job") or seen.get("batch")) and not isinstance(error, typer.Exit):
            _say_how_to_go_on(url, seen)
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def _say_how_to_go_on(url: str, seen: dict[str, Any]) -> None:
    job, batch, at = seen.get("job"), seen.get("batch"), shlex.join(["--url", url])
    if job:
        say(f"{job} goes on without us\n  follow: longrun jobs show {job} --wait {at}\n  cancel: longrun jobs cancel {job} {at}")
    elif batch:
        say(f"{batch} goes on without us\n  results: longrun batch {batch} {at}\n  cancel: longrun jobs cancel {batch} {at}")
    elif seen.get("sent"):
        say(f"the server did not confirm the submit; the job may exist: longrun jobs ls {at}")


def read_input(given: str | None) -> dict[str, Any]:
    """The object that `--input` names.

    Raises:
        ValueError: the file cannot be read, or what it holds is not a JSON object.
    """
    if given is None:
        return {}
    try:
        text = sys.stdin.read() if given == "-" else Path(given[1:]).read_text(encoding="utf-8") if given.startswith("@") else given
        value = read_json(text)
    except OSError as error:
        raise ValueError(f"--input {given}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"--input {given[:60]}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(
            f'--input must be a JSON object with the model\'s fields, such as \'{{"text": "hello"}}\', not {type(value).__name__}'
        )
    return value
