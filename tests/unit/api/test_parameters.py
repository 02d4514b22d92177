"""What request headers and query parameters mean."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

import pytest
from starlette.requests import Request

from longrun.api.http import parameters as ask
from longrun.api.routes import events
from longrun.api.routes.jobs import filters
from longrun.errors import MalformedRequest, ValidationFailed
from longrun.jobs.events import TYPES
from longrun.jobs.states import Status


def asked(query: Mapping[str, str], *headers: tuple[str, str]) -> Request:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    return Request({"type": "http", "query_string": urlencode(query).encode(), "headers": raw})


@pytest.mark.parametrize(
    ("values", "wait", "applied"),
    [
        ([], 0, None),
        (["wait=5"], 5, "wait=5"),
        (["WAIT=5"], 5, "wait=5"),
        (['wait="5"'], 5, "wait=5"),
        (["respond-async, wait=10"], 10, "wait=10"),
        (["respond-async", "wait=10"], 10, "wait=10"),
        (["wait=1, wait=2"], 1, "wait=1"),
        (["wait=0"], 0, "wait=0"),
        (["wait=600"], 60, "wait=60"),
        (["respond-async"], 0, "respond-async"),
        (["wait=soon"], 0, None),
        (["wait=-1"], 0, None),
        (["wait=1.5"], 0, None),
        (["return=minimal; foo=bar, wait=3"], 3, "wait=3"),
    ],
)
def test_prefer_says_how_long_to_wait(values: list[str], wait: float, applied: str | None) -> None:
    assert ask.preference(values) == ask.Preference(wait, applied)


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("abc", "abc"),
        ('"abc"', "abc"),
        ('"a b"'.replace(" ", "-"), "a-b"),
        (r'"a\"b\\c"', r'a"b\c'),
        ("x" * 255, "x" * 255),
        ("8e03978e-40d5-43e8", "8e03978e-40d5-43e8"),
    ],
)
def test_an_idempotency_key_is_read_bare_or_quoted(value: str, key: str) -> None:
    assert ask.idempotency_key([value]) == key


@pytest.mark.parametrize("values", [[""], ["a b"], ["é"], ["x" * 256], ["a", "a"], ["a\x00"], ['""'], ['"a']])
def test_any_other_idempotency_key_is_refused(values: list[str]) -> None:
    with pytest.raises(MalformedRequest, match="Idempotency-Key"):
        ask.idempotency_key(values)


@pytest.mark.parametrize(
    ("values", "known"),
    [
        ([], None),
        (['"3"'], {3}),
        (['W/"3"'], {3}),
        (['"3", "4"'], {3, 4}),
        (['"3"', '"4"'], {3, 4}),
        (["*"], {ask.ANY_VERSION}),
        (["nonsense"], set()),
        (['"' + "9" * 30 + '"'], set()),
    ],
)
def test_if_none_match_names_versions(values: list[str], known: set[int] | None) -> None:
    assert ask.known_versions(values) == known


@pytest.mark.parametrize(
    ("accept", "stream", "page"),
    [
        ("", False, False),
        ("*/*", False, False),
        ("text/event-stream", True, False),
        ("application/json", False, True),
        ("text/event-stream, application/json", True, False),
        ("application/json, text/event-stream;q=0.5", False, True),
        ("text/event-stream;q=0", False, False),
        ("TEXT/EVENT-STREAM; charset=utf-8", True, False),
        ("text/event-stream;q=oops", False, False),
    ],
)
def test_accept_tells_streams_from_pages(accept: str, stream: bool, page: bool) -> None:
    assert (ask.wants(accept, "text/event-stream"), ask.wants_page(accept)) == (stream, page)


def test_last_event_id_wins_over_the_query() -> None:
    assert events.seen(asked({"after": "3"}, ("last-event-id", "7"))) == 7
    assert events.seen(asked({"after": "3"})) == 3
    assert events.seen(asked({"after": "3"}, ("last-event-id", ""))) == 3
    assert events.seen(asked({})) == 0
    assert events.seen(asked({"after": "9" * 100})) == 10**12


@pytest.mark.parametrize("text", ["-1", "1.5", "x", "", "٣", "9" * 101])
def test_a_place_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValidationFailed, match="after"):
        events.seen(asked({"after": text}))


def test_types_are_checked() -> None:
    assert events.TYPES.of(asked({})) == TYPES
    assert events.TYPES.of(asked({"types": "output, done"})) == {"output", "done"}
    for text in ("", "output,nonsense", ","):
        with pytest.raises(ValidationFailed, match="types"):
            events.TYPES.of(asked({"types": text}))


@pytest.mark.parametrize("text", ["0", "101", "-1", "x", "", "1.5"])
def test_a_limit_outside_1_to_100_is_refused(text: str) -> None:
    with pytest.raises(ValidationFailed, match="limit"):
        ask.LIMIT.of(asked({"limit": text}))


def test_filters_are_read() -> None:
    found = filters(asked({"model": "echo", "status": "failed", "tag": "a", "created_after": "2026-01-31T09:30:00+01:00"}))
    assert (found.model, found.status, found.tag, found.since) == ("echo", Status.FAILED, "a", 1769848200001)
    assert filters(asked({"created_after": "2026-01-31T09:30:00 01:00"})).since == 1769848200001
    assert filters(asked({})).since == 0
    assert filters(asked({"created_after": "0001-01-01T00:00:00+23:00"})).since == 0


@pytest.mark.parametrize("query", [{"status": "done"}, {"status": ""}, {"created_after": "yesterday"}, {"created_after": ""}])
def test_filters_that_mean_nothing_are_refused(query: dict[str, str]) -> None:
    with pytest.raises(ValidationFailed):
        filters(asked(query))
