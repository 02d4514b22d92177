"""Following a job through cut, silent, refused and misled connections."""

from __future__ import annotations

from typing import Any

import pytest

from longrun.client.http.steps import Lost
from longrun.client.protocol.follow import follow
from longrun.errors import ApiError, Unreachable

from .played import BROKEN, REFUSED, SILENT, Played, Stream, answer, problem
from .test_events import frame

HELLO = b"retry: 2000\n\n"
HTML = answer(200, "page", content_type="text/html")


def followed(played: Played, retry_for: float = 30.0) -> list[tuple[int, str]]:
    played.run(follow(played.rules(retry_for), "job_1"))
    return [(event.seq, event.type) for event in played.given]


def asked_after(played: Played) -> list[str | None]:
    return [request.headers.get("Last-Event-ID") for request in played.requests]


def test_a_cut_stream_goes_on_where_it_broke_and_nothing_is_given_twice() -> None:
    played = Played(
        [
            Stream([HELLO, frame(1, "queued") + frame(2, "started")]),
            answer(503),
            BROKEN,
            Stream([HELLO, frame(2, "started") + frame(3, "output")[:20], BROKEN]),
            Stream([frame(3, "output"), frame(4, "done")]),
        ]
    )

    assert followed(played) == [(1, "queued"), (2, "started"), (3, "output"), (4, "done")]
    assert asked_after(played) == [None, "2", "2", "2", "2"]


def test_a_stream_whose_job_was_lost_ends_with_that_error_at_once() -> None:
    lost = {"status": 404, "code": "job-lost", "detail": "it was lost"}
    played = Played([Stream([frame(1, "queued"), frame(0, "error", **lost)])])

    with pytest.raises(ApiError) as raised:
        followed(played)
    assert (raised.value.status, raised.value.code, len(played.requests)) == (404, "job-lost", 1)


def test_nothing_left_is_the_end() -> None:
    played = Played([Stream([frame(1, "queued")]), answer(204)])

    assert followed(played) == [(1, "queued")]


def test_a_gap_is_passed_on_and_stands_for_what_it_covers() -> None:
    gap: dict[str, Any] = {"from": 2, "to": 8}
    played = Played([Stream([frame(1, "queued"), frame(2, "gap", **gap)]), Stream([frame(9, "output"), frame(10, "done")])])

    assert followed(played) == [(1, "queued"), (2, "gap"), (9, "output"), (10, "done")]
    assert asked_after(played) == [None, "8"]


def test_a_stream_that_falls_silent_is_opened_again_however_long_it_was_quiet() -> None:
    played = Played([Stream([HELLO, frame(1, "queued"), SILENT]), Stream([frame(2, "done")])])

    assert followed(played, retry_for=10) == [(1, "queued"), (2, "done")]


@pytest.mark.parametrize("refusal", [answer(405), answer(406), answer(501), answer(404), HTML, SILENT, Stream([SILENT])])
def test_where_streams_do_not_get_through_pages_are_read(refusal: Any) -> None:
    def page(next: int | None, *events: tuple[int, str]) -> Any:
        return answer(200, {"events": [{"seq": seq, "type": kind} for seq, kind in events], "next": next, "terminal": next is None})

    played = Played(
        [
            refusal,
            page(2, (1, "queued"), (2, "started")),
            page(2),
            answer(200, {"status": "running"}),
            page(None, (3, "output"), (4, "done")),
        ]
    )

    assert followed(played) == [(1, "queued"), (2, "started"), (3, "output"), (4, "done")]
    paths = [request.path for request in played.requests[1:]]
    assert paths == ["/jobs/job_1/events?after=0", "/jobs/job_1/events?after=2", "/jobs/job_1", "/jobs/job_1/events?after=2"]
    assert played.requests[3].headers["Prefer"] == "wait=2"
    assert played.slept[-1] == 1.0  # the server did not wait


@pytest.mark.parametrize(("status", "code"), [(410, "job-gone"), (401, "unauthenticated"), (500, "internal-error")])
def test_a_problem_ends_the_following(status: int, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        followed(Played([Stream([frame(1, "queued")]), problem(status, code)]))

    assert caught.value.code == code


def test_a_job_that_does_not_exist_is_not_found_also_on_the_way_over_pages() -> None:
    with pytest.raises(ApiError) as caught:
        followed(Played([problem(404, "job-not-found")]))

    assert caught.value.code == "job-not-found"


@pytest.mark.parametrize("lost", [REFUSED, BROKEN, Stream([BROKEN]), Stream([b"data: nonsense\n\n"])])
def test_a_server_without_a_sign_of_life_is_given_up(lost: Lost | Stream) -> None:
    played = Played([Stream([HELLO, frame(1, "queued")]), lost])

    with pytest.raises(Unreachable):
        followed(played, retry_for=10)

    assert sum(played.slept) == pytest.approx(10, abs=0.5)


def test_after_an_event_the_next_break_is_a_first_one_again() -> None:
    played = Played([*[BROKEN] * 4, Stream([frame(1, "queued")]), Stream([frame(2, "done")])])

    followed(played)

    assert played.slept == pytest.approx([0.2, 0.4, 0.8, 1.6, 0.2])
    assert len(played.said) == 2


def test_a_server_that_says_hello_and_ends_is_not_asked_without_pause() -> None:
    played = Played([*[Stream([HELLO])] * 8, Stream([frame(1, "done")])])

    followed(played)

    assert played.slept[-1] >= 5
