"""Waiting for the end, for a change, and for the output; listing."""

from __future__ import annotations

from typing import Any

import pytest

from longrun.client.http.retry import error_of
from longrun.client.http.steps import Answer
from longrun.client.protocol.calls import ask, call_json, listing
from longrun.client.protocol.submit import submission
from longrun.client.protocol.wait import Awaited, await_end, refresh, result
from longrun.errors import ApiError, Unreachable

from .played import BROKEN, REFUSED, Played, answer, problem

JOB = Awaited("/jobs/job_1", "job job_1")


def job(status: str, **more: Any) -> Answer:
    return answer(200, {"id": "job_1", "status": status, "terminal": status in ("succeeded", "failed"), **more})


def prefer(played: Played) -> list[str | None]:
    return [request.headers.get("Prefer") for request in played.requests]


def test_the_end_is_waited_for_by_long_polls() -> None:
    played = Played([job("queued"), job("running"), job("succeeded")], takes=20)

    assert played.run(await_end(played.rules(), JOB, None))["status"] == "succeeded"
    assert prefer(played) == ["wait=20"] * 3
    assert sum(played.slept) == 0


def test_a_server_that_does_not_wait_is_not_asked_without_pause() -> None:
    played = Played([job("running"), job("running"), job("succeeded")], takes=0.25)

    played.run(await_end(played.rules(), JOB, None))

    assert played.slept == pytest.approx([0.75, 0.75])


@pytest.mark.parametrize("takes", [0.0, 1.0])
def test_a_time_limit_is_kept(takes: float) -> None:
    played = Played([job("running")], takes=takes)

    with pytest.raises(TimeoutError, match=r"job job_1 has not ended within 3.5 s; it goes on"):
        played.run(await_end(played.rules(), JOB, 3.5))

    assert 3.5 <= played.now - 100 <= 3.5 + takes
    assert prefer(played)[0] == "wait=3"
    assert all(request.limit <= 5.5 for request in played.requests)


def test_a_time_limit_of_nothing_looks_once() -> None:
    played = Played([job("succeeded")])

    assert played.run(await_end(played.rules(), JOB, 0))["status"] == "succeeded"
    with pytest.raises(TimeoutError):
        Played([job("running")]).run(await_end(played.rules(), JOB, 0))


def test_a_server_that_is_away_when_time_is_over_does_not_hide_that_it_is() -> None:
    played = Played([BROKEN])

    with pytest.raises(TimeoutError) as caught:
        played.run(await_end(played.rules(), JOB, 5))

    assert isinstance(caught.value.__cause__, Unreachable)
    assert played.now - 100 == pytest.approx(5, abs=0.1)


def test_a_server_that_stays_away_is_unreachable() -> None:
    played = Played([REFUSED])

    with pytest.raises(Unreachable):
        played.run(await_end(played.rules(retry_for=10), JOB, 60))

    assert played.now - 100 == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize(("status", "code"), [(404, "job-not-found"), (410, "job-gone")])
def test_not_there_and_gone_are_told_apart(status: int, code: str) -> None:
    played = Played([problem(status, code)])

    with pytest.raises(ApiError) as caught:
        played.run(await_end(played.rules(), JOB, 5))

    assert (caught.value.status, caught.value.code) == (status, code)


def test_without_a_change_the_job_is_read_all_the_same() -> None:
    played = Played([answer(304), job("queued", position=1)], takes=2)

    assert played.run(refresh(played.rules(), {"id": "job_1", "version": 3}, 2.0))["position"] == 1
    assert (played.requests[0].headers["If-None-Match"], prefer(played)) == ('"3"', ["wait=2", None])


def test_an_output_that_is_there_is_not_fetched_again() -> None:
    assert Played([]).run(result(Played([]).rules(), {"id": "job_1", "output": [1]})) == [1]


@pytest.mark.parametrize("body", [{"id": "job_1", "output_file": {"id": "file_1"}}, {"id": "job_1", "output": None}])
def test_an_output_that_is_not_there_is_fetched(body: dict[str, Any]) -> None:
    played = Played([answer(200, "large", content_type="application/json")])
    assert played.run(result(played.rules(), body)) == "large"
    assert played.requests[0].path == "/jobs/job_1/result"

    assert Played([Answer(200, {"content-type": "image/png"}, b"\x89PNG")]).run(result(played.rules(), body)) == b"\x89PNG"
    with pytest.raises(ApiError):
        Played([problem(410, "job-gone")]).run(result(played.rules(), body))


def test_a_job_of_a_list_is_read_first_for_its_output_may_be_a_file() -> None:
    played = Played([answer(200, {"id": "job_1", "output": {"id": "file_1"}})])
    assert played.run(result(played.rules(), {"id": "job_1"})) == {"id": "file_1"}
    assert [request.path for request in played.requests] == ["/jobs/job_1"]


def test_a_listing_is_read_page_by_page_up_to_its_limit() -> None:
    pages = [
        answer(200, {"jobs": [{"id": "a"}], "next": "https://public/api/v1/jobs?tag=x&cursor=2"}),
        answer(200, {"jobs": [], "next": "/api/v1/jobs?tag=x&cursor=3"}),
        answer(200, {"jobs": [{"id": "b"}, {"id": "c"}], "next": "/api/v1/jobs?tag=x&cursor=4"}),
    ]
    played = Played(pages)

    played.run(listing(played.rules(), "/jobs", {"tag": "x", "model": None}, 2))

    assert [body["id"] for body in played.given] == ["a", "b"]
    assert [request.path for request in played.requests] == ["/jobs?tag=x&limit=2", "/jobs?tag=x&cursor=2", "/jobs?tag=x&cursor=3"]


def test_without_a_limit_a_listing_is_read_to_its_end() -> None:
    played = Played([answer(200, {"jobs": [{}] * 100, "next": "/jobs?cursor=2"}), answer(200, {"jobs": [{}], "next": None})])

    played.run(listing(played.rules(), "/jobs", {}, None))

    assert len(played.given) == 101
    assert played.requests[0].path == "/jobs?limit=100"


def test_a_submit_sends_what_was_said_and_nothing_else() -> None:
    request = submission("a/b", {"x": 1}, {"priority": 9, "tags": ("a",), "delay": 0, "idempotency_key": "k"})

    assert (request.method, request.path) == ("POST", "/models/a%2Fb/jobs")
    assert request.headers == {"Content-Type": "application/json", "Idempotency-Key": "k"}
    assert request.body == b'{"input": {"x": 1}, "priority": 9, "tags": ["a"], "delay": 0}'
    assert submission("m", None, {}).body == b'{"input": {}}'


def test_an_input_may_be_a_pydantic_model() -> None:
    from pydantic import BaseModel

    class Ask(BaseModel):
        text: str
        marks: int = 1

    assert submission("m", Ask(text="x"), {}).body == b'{"input": {"text": "x"}}'
    with pytest.raises(TypeError, match="set is no JSON value"):
        submission("m", {"x": {1}}, {})


def test_an_option_that_does_not_exist_is_refused_here() -> None:
    with pytest.raises(TypeError, match="there is no option prority; there are delay, "):
        submission("m", {}, {"prority": 9})  # type: ignore[typeddict-unknown-key]


def test_an_answer_that_is_not_of_longrun_says_what_it_is() -> None:
    error = error_of(Answer(502, {}, b"<h1>Bad gateway</h1>", "http://x/api/v1/jobs"), "http://x")
    assert str(error) == "HTTP 502 from http://x/api/v1/jobs: <h1>Bad gateway</h1>"
    assert (error.retryable, getattr(error, "code", None)) == (True, "http-502")

    played = Played([Answer(200, {"content-type": "text/html"}, b"<h1>Log in</h1>", "http://x/y")])
    with pytest.raises(ApiError, match="Log in"):
        played.run(call_json(played.rules(), ask("GET", "/models")))
