"""Many orders in which the scripts of steps can come, with workers that die between them (`tests/chaos/step_world.py`)."""

from __future__ import annotations

import pytest
from tests.chaos.step_world import live


@pytest.mark.parametrize("seed", range(12))
def test_whatever_comes_when_all_ends_and_nothing_that_finished_is_done_again(valkey_url: str, prefix: str, seed: int) -> None:
    live(valkey_url, prefix, seed)


@pytest.mark.parametrize("seed", range(1000, 1004))
def test_no_wake_up_is_lost_although_nobody_looks_a_second_time(valkey_url: str, prefix: str, seed: int) -> None:
    live(valkey_url, prefix, seed, healed=False)
