"""`longrun jobs …` and `longrun models`: look at what a server has, and steer it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote, urlencode, urlsplit

import typer

from longrun.cli.follow import job_path
from longrun.cli.http import FAILED, Client, connect, explain
from longrun.cli.options import AsJson, Key, Url, usage
from longrun.cli.run import finish, leave_running
from longrun.cli.show import describe, describe_failure, print_json, print_output, print_table, say, write

_PAGE = 100  # the most the server gives at once

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of jobs.")]
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List, show, cancel and retry jobs.")


@app.command("ls")
def ls(
    *,
    model: Annotated[str | None, typer.Option(help="Only jobs of this model.")] = None,
    status: Annotated[str | None, typer.Option(help="Only jobs in this state, such as running.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only jobs with this tag.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first.

    For a pipe: id, model, state, attempt, created, run seconds, tags; tab-separated, without a head line.
    """
    client = open_client(url, key)
    found = read_list(client, "/jobs", {"model": model, "status": status, "tag": tag}, limit)
    if as_json:
        print_json(found)
        return
    print_table(("ID", "MODEL", "STATE", "ATTEMPT", "CREATED", "SECONDS", "TAGS"), [_row(job) for job in found])


def read_list(client: Client, where: str, filters: dict[str, str | None], limit: int) -> list[dict[str, Any]]:
    """Up to `limit` jobs of the listing `where` (`/jobs` or `/dead-letters`), over as many pages as it takes; None = no such filter."""
    chosen = {name: value for name, value in filters.items() if value is not None}
    path: str | None = f"{where}?{urlencode({**chosen, 'limit': min(limit, _PAGE)})}"
    found: list[dict[str, Any]] = []
    while path is not None and len(found) < limit:
        page = client.get(path)
        found += page["jobs"]
        path = f"{where}?{urlsplit(page['next']).query}" if page.get("next") else None
    return found[:limit]


def _row(job: dict[str, Any]) -> tuple[str, ...]:
    tags = ",".join(job.get("tags") or [])
    return (job["id"], job["model"], describe(job), str(job["attempt"]), job["created_at"], _run_seconds(job), tags)


def _run_seconds(job: dict[str, Any]) -> str:
    """Seconds from the start of the last attempt to its end, or to now; a dash before it."""
    if not job.get("started_at"):
        return "-"
    started = datetime.fromisoformat(job["started_at"])
    ended = datetime.fromisoformat(job["finished_at"]) if job.get("finished_at") else datetime.now(UTC)
    return f"{max(0.0, (ended - started).total_seconds()):.1f}"


@app.command("show")
def show(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a job.")],
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end; output and exit code as with `longrun run`.")] = False,
    timeout: Annotated[float | None, typer.Option(min=0.001, help="Seconds to wait at most.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show one job; with --wait follow it."""
    client = open_client(url, key)
    job = client.get(job_path(job_id))
    if wait:
        with leave_running(client.url, timeout) as seen:
            seen["job"] = job["id"]
            code = finish(client, job, as_json=as_json)
        raise typer.Exit(code)
    if as_json:
        print_json(job)
        return
    print_job(job)
    if job.get("output") is not None:
        print_output(job["output"])


def print_job(job: dict[str, Any]) -> None:
    """A job's members, without its output; why it failed goes to stderr."""
    hidden = ("urls", "output", "error", "terminal", "version", "policy")
    print_table(("", ""), [(name, _cell(value)) for name, value in job.items() if name not in hidden and value not in (None, [], {})])
    if job.get("error"):
        say(describe_failure(job))


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={each}" for name, each in value.items() if each is not None)
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


@app.command("cancel")
def cancel(job_ids: Ids, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Cancel jobs; one that has ended stays as it is."""
    client = open_client(url, key)
    # A second cancel changes nothing, so it may be sent again.
    each_job(job_ids, lambda job_id: dict(client.send("POST", f"{job_path(job_id)}/cancel").json()), as_json=as_json)


@app.command("retry")
def retry(job_ids: Ids, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Run failed, canceled or expired jobs again, each as a new job; prints the new ids."""
    client = open_client(url, key)
    each_job(job_ids, lambda job_id: dict(client.send("POST", f"{job_path(job_id)}/retry", safe=False).json()), as_json=as_json)


def each_job(job_ids: list[str], act: Callable[[str], dict[str, Any]], *, as_json: bool) -> None:
    """Do it for each job, also when one of them fails; the exit code is that of the last failure."""
    done, code = [], 0
    for job_id in job_ids:
        try:
            job = act(job_id)
        except Exception as error:
            text, code = (str(error), FAILED) if isinstance(error, ValueError) else explain(error)
            say(f"{job_id}: {text}")
        else:
            done.append(job)
            if not as_json:
                write(f"{job['id']}\t{job['status']}\n")
    if as_json:
        print_json(done)
    if code:
        raise typer.Exit(code)


def models(
    name: Annotated[str | None, typer.Argument(help="Show this model: its schemas and limits.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List the models of a server, or show one."""
    client = open_client(url, key)
    if name is not None:
        model = client.get(f"/models/{quote(name, safe='')}")
        print_json(model)
        return
    found = client.get("/models")["models"]
    if as_json:
        print_json(found)
        return
    rows = [(model["name"], model["queue"], (model.get("description") or "").strip().partition("\n")[0]) for model in found]
    print_table(("MODEL", "QUEUE", "WHAT IT DOES"), rows)


def open_client(url: str | None, key: str | None) -> Client:
    """The client for `--url` and `--key`; a URL that is none is a usage error."""
    with usage():
        return connect(url, key, say)
