"""Many orders in which the scripts of steps can come, with workers that die between them (`tests/chaos/step_world.py`)."""

from __future__ import annotations

import os

import pytest
from tests.chaos.step_world import World


def live(url: str, prefix: str, seed: int, **given: bool | int) -> int:
    """Let a world live, and judge it; how many scripts it took."""
    world = World(url, f"{prefix}{seed}:", seed, **given)  # type: ignore[arg-type]
    try:
        world.run()
        world.check()
        return world.now.sent
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}") from error
    finally:
        world.close()


@pytest.mark.parametrize("seed", range(12))
def test_whatever_comes_when_all_ends_and_nothing_that_finished_is_done_again(valkey_url: str, prefix: str, seed: int) -> None:
    live(valkey_url, prefix, seed)


@pytest.mark.parametrize("seed", range(1000, 1004))
def test_no_wake_up_is_lost_although_nobody_looks_a_second_time(valkey_url: str, prefix: str, seed: int) -> None:
    live(valkey_url, prefix, seed, kills=0, told=True, let_go=False)


@pytest.mark.slow
def test_hundreds_more(valkey_url: str, prefix: str) -> None:
    named = os.environ.get("CHAOS_SEED", "1").replace(",", " ").split()
    for first in map(int, named):
        for seed in range(first * 1000, first * 1000 + 100):
            live(valkey_url, prefix, seed)
            live(valkey_url, prefix, seed, kills=0, told=True, let_go=False)
