"""`longrun jobs …`, `longrun signal` and `longrun models`: list, show, cancel and retry what a server has, and answer what jobs ask."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from longrun.cli.http import connect, for_each
from longrun.cli.options import AsJson, Key, Url, usage
from longrun.cli.run import finish, leave_running
from longrun.cli.show import describe, describe_failure, print_json, print_list, print_output, print_table, say, write
from longrun.cli.tree import HEADERS, rows
from longrun.cli.values import read_value

if TYPE_CHECKING:
    from longrun.client import Client

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of jobs.")]
IdsOfAll = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of jobs, or of batches.")]
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

    In a pipe: id, model, state, attempt, created, run seconds, tags; tab-separated, without a header.
    """
    client = open_client(url, key)
    found = list(client.listing("/jobs", {"model": model, "status": status, "tag": tag}, limit))
    print_list(found, ("ID", "MODEL", "STATE", "ATTEMPT", "CREATED", "SECONDS", "TAGS"), map(_row, found), as_json=as_json)


def _row(job: dict[str, Any]) -> tuple[str, ...]:
    tags = ",".join(job.get("tags") or [])
    return (job["id"], job["model"], describe(job), str(job["attempt"]), job["created_at"], _run_seconds(job), tags)


def _run_seconds(job: dict[str, Any]) -> str:
    """Seconds in the model's code, of the attempts that have ended; a dash while there are none."""
    run_s = job.get("usage", {}).get("run_s")
    return "-" if run_s is None else f"{run_s:.1f}"


@app.command("show")
def show(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a job.")],
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end; output and exit code are those of `longrun run`.")] = False,
    timeout: Annotated[float | None, typer.Option(min=0.001, help="Seconds to wait at most.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show one job; with --wait follow it."""
    client = open_client(url, key)
    job = client.job(job_id)
    if wait:
        with leave_running(client.url, timeout) as seen:
            seen["job"] = job.id
            code = finish(job, as_json=as_json)
        raise typer.Exit(code)
    if as_json:
        print_json(job.body)
        return
    print_job(job.body)
    if job.output is not None:
        print_output(job.output)


def print_job(job: dict[str, Any]) -> None:
    """A job's members, without its output, and what it asks; why it failed goes to stderr."""
    hidden = ("urls", "output", "error", "terminal", "version", "policy", "asks")
    shown = [(name, _cell(value)) for name, value in job.items() if name not in hidden and value not in (None, [], {})]
    print_table(("", ""), [*shown, *(row for ask in job.get("asks") or [] for row in _asked(job["id"], ask))])
    if job.get("error"):
        say(describe_failure(job))


def _asked(job_id: str, ask: dict[str, Any]) -> list[tuple[str, str]]:
    asked, schema = (json.dumps(ask[name], ensure_ascii=False) for name in ("ask", "schema"))
    return [
        ("asks", f"{ask['name']}, until {ask['until']}"),
        ("", asked),
        ("schema", schema),
        ("answer", f"longrun signal {job_id} {ask['name']} VALUE"),
    ]


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={each}" for name, each in value.items() if each is not None)
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


@app.command("tree")
def tree(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a job.")],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show what a job is made of: the jobs that it has made, what it did itself, what it waits for.

    In a pipe: step (two spaces for each level), model or kind, state, run seconds, cost, id; tab-separated, without a header. Seconds and
    cost are those of a job with all its steps.
    """
    client = open_client(url, key)
    found = client.job(job_id).tree(deep=True)
    print_list(found, HEADERS, rows(found), as_json=as_json)


@app.command("cancel")
def cancel(job_ids: IdsOfAll, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Cancel jobs, or all jobs of a batch; one that has ended is left as it is."""
    client = open_client(url, key)
    each_job(job_ids, lambda job_id: _post(client, job_id, "cancel"), as_json=as_json)


@app.command("retry")
def retry(job_ids: Ids, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Run failed, canceled or expired jobs again, each as a new job; prints the new ids."""
    client = open_client(url, key)
    each_job(job_ids, lambda job_id: _post(client, job_id, "retry"), as_json=as_json)


def _post(client: Client, job_id: str, verb: str) -> dict[str, Any]:
    """The job, or the batch, that the server answers with. A second request changes nothing."""
    kind = "batches" if verb == "cancel" and job_id.startswith("batch_") else "jobs"
    return dict(client.request("POST", f"/{kind}/{quote(job_id, safe='')}/{verb}"))


def each_job(job_ids: list[str], act: Callable[[str], dict[str, Any]], *, as_json: bool) -> None:
    """Do it for each job and print what has come of it; see `for_each`."""

    def show_line(job: dict[str, Any]) -> None:
        if not as_json:
            write(f"{job['id']}\t{job['status']}\n")

    done, code = for_each(job_ids, act, show_line)
    if as_json:
        print_json(done)
    raise typer.Exit(code)


def signal(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a job.")],
    name: Annotated[str, typer.Argument(help="What the job asks under; `longrun jobs show ID` says.")],
    value: Annotated[str, typer.Argument(metavar="VALUE|@FILE|-", help="The answer as JSON, or as text where a text is asked for.")],
    url: Url = None,
    key: Key = None,
) -> None:
    """Answer what a job asks."""
    client = open_client(url, key)
    job = client.job(job_id)
    schema: Any = next((each["schema"] for each in job.asks if each["name"] == name), {})
    with usage():
        answer = read_value(value, schema if isinstance(schema, dict) else {})
    job.signal(name, answer)


def models(
    name: Annotated[str | None, typer.Argument(help="Show this model: its schemas and limits.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List the models of a server, or show one."""
    client = open_client(url, key)
    if name is not None:
        print_json(client.model(name))
        return
    found = client.models()
    rows = [(model["name"], model["queue"], (model.get("description") or "").strip().partition("\n")[0]) for model in found]
    print_list(found, ("MODEL", "QUEUE", "WHAT IT DOES"), rows, as_json=as_json)


def open_client(url: str | None, key: str | None) -> Client:
    """The client for `--url` and `--key`; a URL that is none is a usage error."""
    with usage():
        return connect(url, key, say)
