"""A request can ask for less than the model allows, never for more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from longrun.jobs.policy import Policy, narrow

MODEL = Policy(max_attempts=4, backoff=2, max_delay=60, timeout=100, total_timeout=None, retain_for=1000)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, {}),
        ({"max_attempts": 2}, {"max_attempts": 2}),
        ({"max_attempts": 9}, {"max_attempts": 4}),
        ({"timeout": 5}, {"timeout": 5}),
        ({"timeout": 500}, {"timeout": 100}),
        ({"backoff": 0}, {"backoff": 0}),
        ({"backoff": 600}, {"backoff": 60}),
        ({"start_within": 7, "total_timeout": 8}, {"start_within": 7, "total_timeout": 8}),
        ({"retain_for": 0}, {"retain_for": 0}),
        ({"retain_for": 1e9}, {"retain_for": 1000}),
        ({"delivery": "at_most_once"}, {"delivery": "at_most_once"}),
    ],
)
def test_narrow(asked: dict[str, Any], expected: dict[str, Any]) -> None:
    assert narrow(MODEL, asked) == replace(MODEL, **expected)


def test_a_model_that_runs_at_most_once_stays_so() -> None:
    assert narrow(Policy(delivery="at_most_once"), {"delivery": "at_least_once"}).delivery == "at_most_once"


def test_a_stored_policy_comes_back_and_may_hold_members_of_a_newer_version() -> None:
    assert Policy.from_json(MODEL.to_json()) == MODEL
    assert Policy.from_json(b'{"timeout": 3, "colour": "blue"}') == Policy(timeout=3)
