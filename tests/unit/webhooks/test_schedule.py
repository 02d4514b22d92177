"""Whether and when a webhook is tried again."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longrun.webhooks.schedule import DELAYS, LONGEST_ASKED, Verdict, after_try

NOW = 1_700_000_000.0


def lowest(low: float, high: float) -> float:
    return low


def judge(tries: int, status: int | None, retry_after: str | None = None, **more: object) -> Verdict:
    """A verdict without chance."""
    return after_try(tries, status, retry_after, **{"now": lambda: NOW, "uniform": lowest, **more})  # type: ignore[arg-type]


def date(seconds: float) -> str:
    """The HTTP date that lies so far ahead."""
    return format_datetime(datetime.fromtimestamp(NOW + seconds, UTC), usegmt=True)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_a_delivery_also_on_the_last_try(status: int) -> None:
    assert judge(1, status) == judge(99, status) == Verdict("delivered")


def test_410_ends_it_on_any_try() -> None:
    assert judge(1, 410) == judge(99, 410) == Verdict("disabled", reason="The receiver answered 410: it wants no more of them.")


@pytest.mark.parametrize(
    "status", [None, 100, 101, 199, 300, 301, 302, 303, 304, 307, 308, 400, 401, 404, 409, 429, 500, 502, 503, 504, 599]
)
def test_all_else_is_tried_again_and_in_the_end_given_up(status: int | None) -> None:
    assert judge(1, status) == Verdict("retry", 5)
    assert judge(9, status) == Verdict("retry", 86_400)
    assert judge(10, status) == Verdict("failed", reason="All 10 tries have failed.")
    assert judge(11, status).outcome == "failed"


def test_the_schedule_is_the_one_of_standard_webhooks() -> None:
    minute, hour = 60, 3600
    assert (0, 5, 5 * minute, 30 * minute, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour) == DELAYS
    assert [judge(tries, 500).delay for tries in range(1, 10)] == list(DELAYS[1:])


def test_another_schedule_has_as_many_tries_as_delays() -> None:
    assert [judge(tries, 500, delays=(0, 1, 2)) for tries in (1, 2, 3)] == [
        Verdict("retry", 1),
        Verdict("retry", 2),
        Verdict("failed", reason="All 3 tries have failed."),
    ]
    assert judge(1, 500, delays=(0,)) == Verdict("failed", reason="All 1 tries have failed.")


def test_a_quick_schedule_does_not_shorten_what_a_receiver_asks_for() -> None:
    assert judge(2, 500, delays=(0, 0.1, 0.3)) == Verdict("retry", 0.3)
    assert judge(2, 503, "2", delays=(0, 0.1, 0.3)) == Verdict("retry", 2)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "delay"),
    [
        ("600", 600),
        (" 600 ", 600),
        ("0", 300),  # never sooner than the schedule
        ("299", 300),
        (date(900), 900),
        (date(-900), 300),
        (str(10 * LONGEST_ASKED), 300),  # not a number of seconds: it has a point
        ("864000", LONGEST_ASKED),
        ("9" * 5000, LONGEST_ASKED),
        (date(10 * LONGEST_ASKED), LONGEST_ASKED),
        ("Tue, 14 Nov 2023 22:28:20 -0000", 900),
        ("Tue, 14 Nov 99999 22:28:20 GMT", 300),
        *(
            (wrong, 300)
            for wrong in ("", "-600", "+600", "600.5", "soon", "6e2", "inf", "nan", "\u0666\u0660\u0660", "0x258", "1, 600", None)
        ),
    ],
)
def test_a_receiver_that_is_busy_is_given_the_time_it_asks_for(status: int, header: str | None, delay: float) -> None:
    assert judge(2, status, header) == Verdict("retry", delay)


@pytest.mark.parametrize("status", [None, 302, 400, 500, 502])
def test_other_failures_cannot_ask_for_time(status: int | None) -> None:
    assert judge(2, status, "600") == Verdict("retry", 300)


@given(st.integers(1, 9), st.sampled_from([None, 302, 404, 429, 503]), st.none() | st.text(max_size=20) | st.integers(0, 10**9).map(str))
def test_jitter_adds_at_most_a_fifth_and_never_takes_away(tries: int, status: int | None, header: str | None) -> None:
    base, drawn = judge(tries, status, header).delay, after_try(tries, status, header, now=lambda: NOW).delay
    assert DELAYS[tries] <= base <= drawn <= base * 1.2
    assert base <= 86_400
