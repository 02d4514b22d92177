"""Whether and when another attempt follows."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longrun.jobs.policy import Policy
from longrun.jobs.retry import LONGEST_ASKED, retry_delay


def highest(low: float, high: float) -> float:
    return high


def test_an_error_that_is_not_covered_is_final() -> None:
    assert retry_delay(Policy(max_attempts=9), 1, retryable=False) is None


def test_a_spent_budget_is_final() -> None:
    assert retry_delay(Policy(max_attempts=3), 3, retryable=True) is None
    assert retry_delay(Policy(max_attempts=1), 1, retryable=True) is None


def test_the_backoff_doubles_up_to_its_limit() -> None:
    policy = Policy(max_attempts=99, backoff=2, max_delay=10)
    delays = [retry_delay(policy, errors, retryable=True, uniform=highest) for errors in range(1, 6)]
    assert delays == [2, 4, 8, 10, 10]


def test_what_an_upstream_asked_for_is_not_shortened() -> None:
    assert retry_delay(Policy(max_attempts=2, max_delay=1), 1, retryable=True, asked=60) == 60
    assert retry_delay(Policy(max_attempts=1), 1, retryable=True, asked=60) is None


@given(errors=st.integers(1, 10_000), backoff=st.floats(0, 1e6), limit=st.floats(0, 1e6))
def test_every_delay_lies_between_zero_and_the_limit(errors: int, backoff: float, limit: float) -> None:
    delay = retry_delay(Policy(max_attempts=10_001, backoff=backoff, max_delay=limit), errors, retryable=True)
    assert delay is not None
    assert 0 <= delay <= limit


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_the_number_of_attempts_counts_the_first_one(attempts: int) -> None:
    policy, runs = Policy(max_attempts=attempts), 1
    while retry_delay(policy, runs, retryable=True) is not None:
        runs += 1
    assert runs == attempts


@given(errors=st.integers(1, 200), backoff=st.floats(0, 1e4), limit=st.floats(0, 1e4), draw=st.floats(0, 1))
def test_jitter_is_full_the_wait_is_drawn_from_zero_to_the_doubled_backoff(errors: int, backoff: float, limit: float, draw: float) -> None:
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return low + (high - low) * draw

    policy = Policy(max_attempts=errors + 1, backoff=backoff, max_delay=limit)
    delay = retry_delay(policy, errors, retryable=True, uniform=uniform)
    assert asked == [(0.0, min(limit, backoff * 2.0 ** min(errors - 1, 60)))]
    assert delay == asked[0][1] * draw


@pytest.mark.parametrize(("asked", "waits"), [(-5.0, 0.0), (math.nan, 0.0), (math.inf, LONGEST_ASKED), (1e300, LONGEST_ASKED)])
def test_an_upstream_that_asks_for_the_impossible_gets_the_nearest_that_is_possible(asked: float, waits: float) -> None:
    assert retry_delay(Policy(max_attempts=2), 1, retryable=True, asked=asked) == waits
