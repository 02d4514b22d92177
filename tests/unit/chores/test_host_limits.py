"""Many messages at once to a host that answers, few to one that lets us wait."""

from __future__ import annotations

import pytest

from longrun.chores.host_limits import MEMORY, MOST_TO_ONE, MOST_TO_SLOW, SLOW, Hosts


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_quick_host_gets_many_at_once_and_then_has_to_be_through_with_one() -> None:
    hosts = Hosts(Clock())
    begun = []
    while hosts.admit("a") == "go":
        begun.append(hosts.begin("a"))
    assert (len(begun), hosts.admit("a"), hosts.admit("b")) == (MOST_TO_ONE, "crowded", "go")
    hosts.end("a", begun[0])
    assert hosts.admit("a") == "go"


def test_a_host_that_lets_us_wait_gets_few_while_it_does_and_for_a_while_after() -> None:
    clock = Clock()
    hosts = Hosts(clock)
    begun = [hosts.begin("a") for _ in range(MOST_TO_SLOW)]
    assert hosts.admit("a") == "go"
    clock.now += SLOW
    assert (hosts.admit("a"), hosts.admit("b")) == ("slow", "go")
    for each in begun:
        hosts.end("a", each)
    begun = [hosts.begin("a") for _ in range(MOST_TO_SLOW)]
    assert hosts.admit("a") == "slow"
    clock.now += MEMORY
    for each in begun:
        hosts.end("a", each)
    clock.now += 2 * MEMORY
    hosts.end("b", hosts.begin("b"))
    assert hosts.admit("a") == "go"


def test_a_long_queue_for_a_slow_host_is_spread_over_a_minute_instead_of_coming_round_all_the_time() -> None:
    clock = Clock()
    hosts = Hosts(clock)
    hosts.begin("a")
    clock.now += SLOW
    waits = [hosts.wait("a") for _ in range(1000)]
    assert 2.0 <= waits[0] < 3.0
    assert waits == sorted(waits)
    assert waits[100] - waits[0] == pytest.approx(100 * SLOW / MOST_TO_SLOW)
    assert waits[-1] == MEMORY
