"""Following a job through cut connections, and without events."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from longrun.cli.follow import follow, read_events
from longrun.cli.http import Client

from .conftest import Answer, ScriptedServer

SSE = {"Content-Type": "text/event-stream; charset=utf-8"}


class Notes:
    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.events: list[tuple[int, str]] = []

    def on_job(self, job: dict[str, Any]) -> None:
        self.jobs.append(job["status"])

    def on_event(self, event: dict[str, Any]) -> None:
        self.events.append((event["seq"], event["type"]))


def job(status: str, version: int = 1, **more: Any) -> dict[str, Any]:
    terminal = status in ("succeeded", "failed", "canceled", "expired")
    return {"id": "job_1", "status": status, "terminal": terminal, "version": version, "position": None, **more}


def event(seq: int, kind: str, **data: Any) -> bytes:
    return f"id: {seq}\ndata: {json.dumps({'seq': seq, 'attempt': 1, 'at': 'T', 'type': kind, 'data': data})}\n\n".encode()


def test_frames_are_read_whatever_the_pieces_they_come_in() -> None:
    stream = (
        b": hello\nretry: 500\n\n" + event(1, "queued") + event(2, "output", value="a\u2028b").replace(b"\n", b"\r\n") + b"data: cut off"
    )

    for size in (1, 7, 1000):
        pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
        assert [found["seq"] for found in read_events(pieces)] == [1, 2]


def test_a_line_separator_inside_json_does_not_end_a_line() -> None:
    frame = 'data: {"seq": 1, "data": {"value": "a\u2028b\u0085c"}}\n\n'.encode()

    assert next(read_events([frame]))["data"]["value"] == "a\u2028b\u0085c"


def test_a_cut_stream_goes_on_where_it_broke(server: ScriptedServer) -> None:
    server.on(
        "GET /jobs/job_1/events",
        Answer(body=event(1, "queued") + event(2, "started"), headers=SSE),
        Answer(503, {"code": "store-unavailable"}),
        Answer(silent=True),
        Answer(body=event(2, "started") + event(3, "output", value="x") + event(4, "done"), headers=SSE),
    )
    server.on("GET /jobs/job_1", Answer(body=job("succeeded")))
    notes = Notes()

    assert follow(Client(server.url), job("running"), notes)["status"] == "succeeded"
    assert notes.events == [(1, "queued"), (2, "started"), (3, "output"), (4, "done")]
    assert [headers.get("Last-Event-ID") for headers in server.seen("GET /jobs/job_1/events")] == [None, "2", "2", "2"]


def test_a_stream_that_has_nothing_left_ends_the_following(server: ScriptedServer) -> None:
    server.on("GET /jobs/job_1/events", Answer(204, b""))
    server.on("GET /jobs/job_1", Answer(body=job("failed")))

    assert follow(Client(server.url), job("running"), Notes())["status"] == "failed"


@pytest.mark.parametrize("refusal", [Answer(406, {"code": "x"}), Answer(200, {"events": []})])
def test_where_events_do_not_get_through_the_job_is_asked_for(server: ScriptedServer, refusal: Answer) -> None:
    server.on("GET /jobs/job_1/events", refusal)
    server.on("GET /jobs/job_1", Answer(body=job("running", 3)), Answer(body=job("canceled", 4)))
    notes = Notes()

    assert follow(Client(server.url), job("running", 2), notes)["status"] == "canceled"
    assert notes.jobs == ["running", "running", "canceled"]
    asked = server.seen("GET /jobs/job_1")[-1]
    assert (asked["If-None-Match"], asked["Prefer"]) == ('"3"', "wait=20")


def test_while_it_waits_its_position_is_read_again(server: ScriptedServer) -> None:
    server.on(
        "GET /jobs/job_1",
        Answer(304, b""),
        Answer(body=job("queued", position=1)),
        Answer(body=job("succeeded", 2)),
    )
    notes = Notes()

    assert follow(Client(server.url), job("queued", position=4), notes)["status"] == "succeeded"
    assert notes.jobs == ["queued", "queued", "succeeded"]
    assert [headers.get("Prefer") for headers in server.seen("GET /jobs/job_1")] == ["wait=2", None, "wait=2"]


def test_a_job_that_is_not_ours_to_see_ends_the_following_with_its_problem(server: ScriptedServer) -> None:
    server.on("GET /jobs/job_1/events", Answer(410, {"code": "job-gone", "detail": "gone"}))

    with pytest.raises(httpx.HTTPStatusError) as caught:
        follow(Client(server.url), job("running"), Notes())

    assert caught.value.response.status_code == 410
