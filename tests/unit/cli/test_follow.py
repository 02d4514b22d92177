"""Following a job: its place in the queue, then its events, then its end."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.scripted import Answer, ScriptedServer, caller_of

from longrun.cli.run import follow
from longrun.client import Event, RemoteJob
from longrun.errors import ApiError

SSE = {"Content-Type": "text/event-stream; charset=utf-8"}


class Notes:
    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.events: list[tuple[int, str]] = []

    def on_job(self, job: RemoteJob) -> None:
        self.jobs.append(job.status)

    def on_event(self, event: Event) -> None:
        self.events.append((event.seq, event.type))


def job(status: str, version: int = 1, **more: Any) -> dict[str, Any]:
    terminal = status in ("succeeded", "failed", "canceled", "expired")
    return {"id": "job_1", "status": status, "terminal": terminal, "version": version, "position": None, **more}


def event(seq: int, kind: str, **data: Any) -> bytes:
    return f"id: {seq}\ndata: {json.dumps({'seq': seq, 'attempt': 1, 'at': 'T', 'type': kind, 'data': data})}\n\n".encode()


def followed(server: ScriptedServer, first: dict[str, Any]) -> tuple[RemoteJob, Notes]:
    followed, notes = RemoteJob(caller_of(server.url), first), Notes()
    follow(followed, notes)
    return followed, notes


def test_a_running_job_is_followed_by_its_events_and_ends_as_they_say(server: ScriptedServer) -> None:
    stream = event(1, "queued") + event(2, "started") + event(3, "done", **job("succeeded", 3))
    server.on("GET /jobs/job_1/events", Answer(body=stream, headers=SSE))

    ended, notes = followed(server, job("running"))

    assert ended.status == "succeeded"
    assert notes.events == [(1, "queued"), (2, "started"), (3, "done")]


def test_a_stream_that_has_nothing_left_ends_the_following(server: ScriptedServer) -> None:
    server.on("GET /jobs/job_1/events", Answer(204, b""))
    server.on("GET /jobs/job_1", Answer(body=job("failed")))

    assert followed(server, job("running"))[0].status == "failed"


def test_while_it_waits_its_position_is_read_again(server: ScriptedServer) -> None:
    server.on("GET /jobs/job_1", Answer(304, b""), Answer(body=job("queued", position=1)), Answer(body=job("succeeded", 2)))

    ended, notes = followed(server, job("queued", position=4))

    assert ended.status == "succeeded"
    assert notes.jobs == ["queued", "queued", "succeeded"]
    assert [headers.get("Prefer") for headers in server.seen("GET /jobs/job_1")] == ["wait=2", None, "wait=2"]


def test_a_job_that_is_not_ours_to_see_ends_the_following_with_its_problem(server: ScriptedServer) -> None:
    for asked in ("", "?after=0"):
        server.on(f"GET /jobs/job_1/events{asked}", Answer(410, {"code": "job-gone", "detail": "gone"}))

    with pytest.raises(ApiError) as caught:
        followed(server, job("running"))

    assert (caught.value.status, caught.value.code) == (410, "job-gone")
