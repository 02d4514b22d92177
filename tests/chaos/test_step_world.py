"""Many worlds of workers that run the scripts of steps in an order of chance; `tests/integration/store/test_step_world.py` has a few."""

from __future__ import annotations

import pytest
from tests.chaos.step_world import live

pytestmark = pytest.mark.chaos


@pytest.mark.gate
@pytest.mark.parametrize("healed", [True, False])
def test_a_hundred_worlds_end_and_nothing_that_finished_is_done_again(valkey_url: str, prefix: str, healed: bool) -> None:
    for number in range(100):
        live(valkey_url, prefix, number, healed=healed)


@pytest.mark.parametrize("block", range(1, 5))
def test_hundreds_more_do(valkey_url: str, prefix: str, seed: int, block: int) -> None:
    for number in range(100):
        live(valkey_url, prefix, seed * 1000 + block * 100 + number)
