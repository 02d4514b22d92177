"""Decisions that need no store."""

from __future__ import annotations

import orjson
import pytest

from longrun.errors import ValidationFailed
from longrun.jobs.policy import Policy
from longrun.models import ModelOptions, Retry
from longrun.service.policies import model_policy
from longrun.service.read import make_cursor, parse_cursor
from longrun.service.request import parse_request
from longrun.service.submit import policy_in_force
from longrun.service.watch import joined, retrying_data
from longrun.settings import Settings

JOB = "job_" + "0" * 32


def test_a_model_without_options_gets_the_operators_policy() -> None:
    assert model_policy(ModelOptions(), Settings(retention=60, max_crashes=5)) == Policy(retain_for=60, max_crashes=5)


def test_a_models_options_make_its_policy() -> None:
    options = ModelOptions(
        retry=Retry(4, backoff=2, max_delay=30), timeout=9, total_timeout=90, start_within=5, retain_for=0, max_crashes=1
    )
    assert model_policy(options, Settings()) == Policy(
        max_attempts=4, backoff=2, max_delay=30, timeout=9, total_timeout=90, start_within=5, retain_for=0, max_crashes=1
    )


def test_a_request_may_ask_for_less_and_never_for_more() -> None:
    options = ModelOptions(retry=Retry(4), timeout=100)
    asked = parse_request({"input": {}, "policy": {"max_attempts": 9, "timeout": 10, "retain_for": 5, "total_timeout": 50}})
    policy = policy_in_force(model_policy(options, Settings()), asked)
    assert (policy.max_attempts, policy.timeout, policy.retain_for, policy.total_timeout) == (4, 10, 5, 50)


def test_a_cursor_leads_back_to_its_place() -> None:
    assert parse_cursor(make_cursor("1769848200000", JOB)) == ("1769848200000", JOB)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "é",
        "=" * 10,
        make_cursor("x", JOB),
        make_cursor("1", "job_1"),
        make_cursor("-1", JOB),
        make_cursor("1", JOB)[:-2],
        make_cursor("1", JOB) + "!",
    ],
)
def test_a_cursor_that_was_tampered_with_is_refused(cursor: str) -> None:
    with pytest.raises(ValidationFailed, match="cursor"):
        parse_cursor(cursor)


@pytest.mark.parametrize(
    ("values", "text", "output"),
    [
        ([], True, b'""'),
        ([], False, b"[]"),
        ([], None, b"null"),
        ([b'"a"', b'"b"'], True, b'"ab"'),
        ([b'"a"', b'"b"'], False, b'["a","b"]'),
        ([b'"a"', b'"b"'], None, b'"ab"'),
        ([b'"a"', b"1"], None, b'["a",1]'),
        ([b"123456789012345678901234567890"], False, b"[123456789012345678901234567890]"),
    ],
)
def test_yielded_values_are_joined(values: list[bytes], text: bool | None, output: bytes) -> None:
    assert joined(values, text=text) == output


def test_a_retry_is_told_without_the_operators_text() -> None:
    stored = orjson.dumps(
        {"reason": {"code": "model-error", "detail": "x", "attempt": 1, "debug": "secret"}, "next_attempt_at": 1769848200125}
    )
    told = orjson.loads(retrying_data(stored, "/api/v1/jobs/j"))
    assert told["next_attempt_at"] == "2026-01-31T08:30:00.125Z"
    assert (told["reason"]["code"], told["reason"]["status"], "debug" in told["reason"]) == ("model-error", 424, False)
    assert orjson.loads(retrying_data(stored, "/x", debug=True))["reason"]["debug"] == "secret"
