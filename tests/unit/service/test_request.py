"""What a submit may say."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from longrun.api.routes.operations import RedriveRequest
from longrun.errors import ValidationFailed
from longrun.models.pointers import pointer
from longrun.service.jsontext import canonical, compact, compacted
from longrun.service.request import BatchOptions, Body, SubmitRequest, parse_request, parsed
from longrun.service.submit import fingerprint
from longrun.service.webhooks import EndpointChange, EndpointRequest, Rotation

#: Everything that a caller may send besides an input.
REQUESTS: list[type[Body]] = [SubmitRequest, BatchOptions, EndpointRequest, EndpointChange, Rotation, RedriveRequest]


def findings(body: Any) -> list[tuple[str, str]]:
    """Pointers and details of what is wrong with a body."""
    with pytest.raises(ValidationFailed) as refused:
        parse_request(body)
    return [(each["pointer"], each["detail"]) for each in refused.value.errors or []]


def test_only_the_input_is_needed() -> None:
    request = parse_request({"input": None})
    assert (request.input, request.priority, request.delay, request.tags, request.metadata) == (None, 5, 0.0, [], {})
    assert request.policy.model_dump(exclude_none=True) == {}


def test_everything_may_be_said() -> None:
    policy = {
        "max_attempts": 2,
        "backoff": 0,
        "timeout": 1,
        "soft_timeout": 0.5,
        "start_within": 2.5,
        "total_timeout": 9,
        "retain_for": 0,
        "delivery": "at_most_once",
    }
    webhook = {"url": "https://example.com/hook", "events": ["job.failed"], "secret": "whsec_" + 43 * "A" + "="}
    body = {"input": {}, "priority": 9, "delay": 1.5, "tags": ["a"], "metadata": {"k": [1, {}]}, "cancel_on_disconnect": True}
    request = parse_request({**body, "policy": policy, "webhook": webhook})
    assert request.model_dump() == {**body, "policy": policy, "webhook": webhook}


@pytest.mark.parametrize(
    ("member", "value", "where"),
    [
        ("priority", 10, "/priority"),
        ("priority", -1, "/priority"),
        ("priority", "5", "/priority"),
        ("priority", True, "/priority"),
        ("priority", 10**400, "/priority"),
        ("delay", -1, "/delay"),
        ("delay", 30 * 86_400 + 1, "/delay"),
        ("delay", "1", "/delay"),
        ("delay", 10**400, "/delay"),
        ("tags", ["x"] * 17, "/tags"),
        ("tags", ["x" * 65], "/tags/0"),
        ("tags", [""], "/tags/0"),
        ("tags", [1], "/tags/0"),
        ("tags", "a", "/tags"),
        ("metadata", [], "/metadata"),
        ("metadata", {"a": "x" * 16_384}, "/metadata"),
        ("policy", {"max_attempts": 0}, "/policy/max_attempts"),
        ("policy", {"timeout": 0}, "/policy/timeout"),
        ("policy", {"retain_for": -1}, "/policy/retain_for"),
        ("policy", {"delivery": "maybe"}, "/policy/delivery"),
        ("policy", {"max_delay": 1}, "/policy/max_delay"),
        ("policy", None, "/policy"),
    ],
)
def test_values_out_of_range_are_refused_with_a_pointer(member: str, value: Any, where: str) -> None:
    assert [found[0] for found in findings({"input": {}, member: value})] == [where]


def test_unknown_members_are_refused_with_a_pointer() -> None:
    assert findings({"input": {}, "a/b~": 1}) == [("/a~1b~0", "unknown member")]
    assert findings({}) == [("/input", "missing")]


@pytest.mark.parametrize("body", [None, [], "x", 1])
def test_a_body_that_is_no_object_is_refused(body: Any) -> None:
    assert findings(body) == [("", "must be an object")]


def test_a_webhook_tells_of_the_four_ends_unless_it_says_otherwise() -> None:
    request = parse_request({"input": {}, "webhook": {"url": "https://example.com"}})
    assert request.webhook is not None
    assert request.webhook.events == ["job.succeeded", "job.failed", "job.canceled", "job.expired"]


@pytest.mark.parametrize(
    ("webhook", "where", "words"),
    [
        ("https://example.com", "/webhook", "valid dictionary"),
        ({}, "/webhook/url", "missing"),
        ({"url": ""}, "/webhook/url", "at least 1"),
        ({"url": "https://example.com", "events": []}, "/webhook/events", "at least 1"),
        ({"url": "https://example.com", "events": ["job.done"]}, "/webhook/events/0", "job.succeeded"),
        ({"url": "https://example.com", "secret": "hush"}, "/webhook/secret", "whsec_"),
        ({"url": "https://example.com", "secret": "whsec_c2hvcnQ="}, "/webhook/secret", "24 to 64"),
        ({"url": "https://example.com", "headers": {}}, "/webhook/headers", "unknown member"),
    ],
)
def test_a_wrong_webhook_is_refused_and_told_where_it_is_wrong(webhook: Any, where: str, words: str) -> None:
    ((pointer, detail),) = findings({"input": {}, "webhook": webhook})
    assert pointer == where
    assert words in detail
    assert "hush" not in detail


URL = {"url": "https://example.com/hook"}


@pytest.mark.parametrize(
    ("kind", "members", "where"),
    [
        (SubmitRequest, {"input": 1, "webhook": {**URL, "events": ["job.failed"] * 2}}, "/webhook/events"),
        (EndpointRequest, {**URL, "events": ["job.failed", "job.started", "job.failed"]}, "/events"),
        (EndpointChange, {"events": ["batch.completed"] * 2}, "/events"),
    ],
)
def test_an_event_is_named_once(kind: type[Body], members: Any, where: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        parsed(kind, members)
    assert refused.value.errors == [{"pointer": where, "detail": "must name each event once"}]


@pytest.mark.parametrize(
    ("kind", "members", "where"),
    [
        (SubmitRequest, {"input": 1, "webhook": {**URL, "events": [""] * 100_000}}, "/webhook/events"),
        (SubmitRequest, {"input": 1, "tags": [""] * 100_000}, "/tags"),
        (BatchOptions, {"tags": [""] * 100_000}, "/tags"),
        (BatchOptions, {"webhook": {**URL, "events": [""] * 100_000}}, "/webhook/events"),
        (EndpointRequest, {**URL, "events": [""] * 100_000}, "/events"),
        (EndpointChange, {"events": [""] * 100_000}, "/events"),
        (RedriveRequest, {"ids": [1] * 100_000}, "/ids"),
    ],
)
def test_a_list_that_is_too_long_is_one_finding(kind: type[Body], members: Any, where: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        parsed(kind, members)
    assert [(each["pointer"], "items at most, not 100,000" in each["detail"]) for each in refused.value.errors or ()] == [(where, True)]


@pytest.mark.parametrize("kind", REQUESTS)
def test_every_list_of_a_request_says_how_long_it_may_be(kind: type[Body]) -> None:
    left: list[Any] = [kind.model_json_schema()]
    while left:
        each = left.pop()
        left += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
        assert not isinstance(each, dict) or each.get("type") != "array" or 1 <= each["maxItems"] <= 1000


@pytest.mark.parametrize("kind", REQUESTS)
def test_of_a_crowd_of_unknown_members_fifty_are_shown(kind: type[Body]) -> None:
    with pytest.raises(ValidationFailed) as refused:
        parsed(kind, {"tags": 1, "events": 1} | {f"x{number}": 1 for number in range(300)})
    found = refused.value.errors or []
    assert len(found) == 50
    assert {each["detail"] for each in found if each["pointer"][:2] == "/x"} == {"unknown member"}
    wrong = {f"/{name}" for name in ("tags", "events") if name in kind.model_fields}
    assert wrong <= {each["pointer"] for each in found}


@pytest.mark.parametrize("kind", REQUESTS)
def test_no_error_is_made_of_an_unknown_member_that_is_not_shown(kind: type[Body]) -> None:
    with pytest.raises(ValidationError) as refused:
        kind.model_validate({f"x{number}": 1 for number in range(100_000)})
    assert refused.value.error_count() < 60


def test_the_pointer_to_an_unknown_member_is_not_as_long_as_its_name() -> None:
    ((where, _),) = findings({"input": 1, "x" * 1_000_000: 1})
    assert len(where) == 300


def test_pointers_are_escaped() -> None:
    assert pointer("", ("a/b", 0, "c~d")) == "/a~1b/0/c~0d"
    assert pointer("", ()) == ""


async def test_json_text_keeps_integers_of_any_size() -> None:
    assert await compacted({"b": 10**30, "a": "é"}) == '{"b":1000000000000000000000000000000,"a":"é"}'.encode()
    assert await compacted([1.5]) == b"[1.5]"
    assert compact({"b": 10**30, "a": "é"}) == '{"b":1000000000000000000000000000000,"a":"é"}'.encode()
    assert canonical({"b": 10**30, "a": 1}) == b'{"a":1,"b":1000000000000000000000000000000}'


def test_the_fingerprint_knows_model_and_values_but_not_their_order() -> None:
    assert fingerprint("m", {"a": 1, "b": {"c": 1, "d": 2}}) == fingerprint("m", {"b": {"d": 2, "c": 1}, "a": 1})
    assert fingerprint("m", {"a": 1}) != fingerprint("m", {"a": 2})
    assert fingerprint("m", {"a": 1}) != fingerprint("n", {"a": 1})
    assert fingerprint("m", {"a": [1, 2]}) != fingerprint("m", {"a": [2, 1]})
