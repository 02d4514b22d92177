"""`longrun dead …`: dead letters, which are failed jobs that nobody has retried. List them, run them again, or erase them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from longrun.cli.http import FAILED
from longrun.cli.jobs import Ids, each_job, open_client, print_job
from longrun.cli.options import AsJson, Key, Url
from longrun.cli.show import describe_error, print_json, print_list, print_table, say, write

if TYPE_CHECKING:
    from longrun.client import Client

_MOST = 1000  # the most ids that the server takes at once

Model = Annotated[str | None, typer.Option(help="Only those of this model.")]
Code = Annotated[str | None, typer.Option(help="Only those whose error has this code, such as worker-lost.")]
Tag = Annotated[str | None, typer.Option(help="Only those with this tag.")]
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List, show, redrive and discard dead letters (failed jobs).")


@app.command("ls")
def ls(
    *,
    model: Model = None,
    code: Code = None,
    tag: Tag = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the latest failure first.

    In a pipe: id, model, code, attempts, failed at, tags, detail; tab-separated, without a header.
    """
    found = list(open_client(url, key).listing("/dead-letters", {"model": model, "code": code, "tag": tag}, limit))
    print_list(found, ("ID", "MODEL", "CODE", "ATTEMPTS", "FAILED", "TAGS", "DETAIL"), map(_row, found), as_json=as_json)


def _row(job: dict[str, Any]) -> tuple[str, ...]:
    error, tags = job.get("error") or {}, ",".join(job.get("tags") or [])
    return (job["id"], job["model"], error.get("code", ""), str(job["attempt"]), job["finished_at"] or "-", tags, error.get("detail", ""))


@app.command("show")
def show(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a failed job.")],
    *,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show a failed job and how each of its attempts ended.

    In a pipe: the job's members as name and value, then for each attempt: `attempt`, its number, outcome, start, run seconds,
    worker, reason; tab-separated.
    """
    job = open_client(url, key).job(job_id)
    attempts = job.attempts()
    if as_json:
        print_json({**job.body, "attempts": attempts})
        return
    print_job(job.body)
    print_table(("", "N", "OUTCOME", "STARTED", "SECONDS", "WORKER", "REASON"), [_attempt(each) for each in attempts])


def _attempt(attempt: dict[str, Any]) -> tuple[str, ...]:
    seconds = "-" if attempt["run_s"] is None else f"{attempt['run_s']:.1f}"
    reason = describe_error(attempt["error"]) if attempt.get("error") else ""
    head = ("attempt", str(attempt["attempt"]), attempt["outcome"] or "running")
    return (*head, attempt["started_at"], seconds, attempt["worker"], reason)


@app.command("redrive")
def redrive(
    job_ids: Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="Ids of dead letters.")] = None,
    *,
    model: Model = None,
    code: Code = None,
    tag: Tag = None,
    everything: Annotated[bool, typer.Option("--all", help="Every dead letter.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before --all.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Run dead letters again, each as a new job; prints the old id and the new one.

    Name them by id, by --model, --code and --tag, or say --all. A job that fails again meanwhile is a new dead letter, not run once more.
    """
    chosen = {name: value for name, value in (("model", model), ("code", code), ("tag", tag)) if value is not None}
    if sum([bool(job_ids), bool(chosen), everything]) != 1:
        raise typer.BadParameter("name dead letters by id, or by --model, --code and --tag, or say --all")
    client = open_client(url, key)
    if everything and not yes and sys.stdin.isatty():
        typer.confirm(f"Run every dead letter of {client.url} again?", abort=True, err=True)
    asked = _pieces(job_ids) if job_ids else iter([{"all": True} if everything else chosen])
    total: dict[str, Any] = {"redriven": [], "skipped": [], "left": 0}
    for answer in _redriven(client, asked):
        total = {name: total[name] + answer[name] for name in ("redriven", "skipped")} | {"left": answer["left"]}
        for each in [] if as_json else answer["redriven"]:
            write(f"{each['id']}\t{each['job_id']}\n")
        for each in answer["skipped"]:
            say(f"{each['id']}: {each['code']}")
    if as_json:
        print_json(total)
    else:
        say(f"{len(total['redriven'])} run again, {total['left']} dead letters left")
    if total["skipped"]:
        raise typer.Exit(FAILED)


def _pieces(job_ids: list[str]) -> Iterator[dict[str, Any]]:
    return ({"ids": job_ids[i : i + _MOST]} for i in range(0, len(job_ids), _MOST))


def _redriven(client: Client, asked: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The server's answers; each handles up to a thousand and names where the next one begins."""
    for body in asked:
        where: dict[str, Any] = {}
        while True:
            # A dead letter is retried once, however often that is asked.
            answer = client.request("POST", "/dead-letters/redrive", {**body, **where})
            yield answer
            if not answer.get("next"):
                break
            where = {"cursor": answer["next"]}


@app.command("discard")
def discard(job_ids: Ids, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Erase dead letters for good: input, events and error. Only failed jobs are erased."""
    client = open_client(url, key)

    def erase(job_id: str) -> dict[str, Any]:
        job = client.job(job_id)
        if job.status != "failed":
            raise ValueError(f"it is {job.status}, not a dead letter")
        job.delete()
        return {"id": job.id, "status": "discarded"}

    each_job(job_ids, erase, as_json=as_json)
