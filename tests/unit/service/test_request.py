"""What a submit may say."""

from __future__ import annotations

from typing import Any

import pytest

from longrun.errors import ValidationFailed
from longrun.models.pointers import pointer
from longrun.service.jsontext import canonical, compact
from longrun.service.request import parse_request
from longrun.service.submit import fingerprint


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


def test_pointers_are_escaped() -> None:
    assert pointer("", ("a/b", 0, "c~d")) == "/a~1b/0/c~0d"
    assert pointer("", ()) == ""


def test_json_text_keeps_integers_of_any_size() -> None:
    assert compact({"b": 10**30, "a": "é"}) == '{"b":1000000000000000000000000000000,"a":"é"}'.encode()
    assert canonical({"b": 10**30, "a": 1}) == b'{"a":1,"b":1000000000000000000000000000000}'


def test_the_fingerprint_knows_model_and_values_but_not_their_order() -> None:
    assert fingerprint("m", {"a": 1, "b": {"c": 1, "d": 2}}) == fingerprint("m", {"b": {"d": 2, "c": 1}, "a": 1})
    assert fingerprint("m", {"a": 1}) != fingerprint("m", {"a": 2})
    assert fingerprint("m", {"a": 1}) != fingerprint("n", {"a": 1})
    assert fingerprint("m", {"a": [1, 2]}) != fingerprint("m", {"a": [2, 1]})
