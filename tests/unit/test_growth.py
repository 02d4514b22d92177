"""The measure of growth finds what grows too fast, and is not misled by what else happens."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from tests.unit import growth as module
from tests.unit.growth import MOST, growth


def steps(count: int) -> None:
    for _ in range(count):
        pass


@pytest.fixture
def busy() -> Iterator[None]:
    """Neighbours on every core that take what they can get."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: bytes(1 << 22)"]) for _ in range(2)]
    yield
    for other in others:
        other.kill()
        other.wait()


TOO_FAST: dict[str, tuple[Callable[[int], object], int]] = {
    "n²": (lambda n: steps(n * n // 8), 1000),
    "n² beside much that is linear": (lambda n: steps(n * n // 8 + 50 * n), 1000),
    "n³": (lambda n: steps(n**3), 40),
    "2ⁿ": (lambda n: steps(2**n), 5),
}


@pytest.mark.parametrize("name", TOO_FAST)
def test_what_grows_too_fast_is_found(name: str) -> None:
    work, n = TOO_FAST[name]
    assert growth(work, lambda n: n, n) > MOST


def test_what_grows_too_fast_is_found_beside_busy_neighbours(busy: None) -> None:
    work, n = TOO_FAST["n²"]
    assert growth(work, lambda n: n, n) > MOST


def test_what_is_linear_is_not_found_beside_busy_neighbours(busy: None) -> None:
    for _ in range(3):
        assert 0 < growth(lambda n: [(each,) for each in range(4 * n)], lambda n: n, 16_384) < MOST
    assert 0 < growth(lambda n: steps(8 * n), lambda n: n, 16_384) < MOST


def test_noise_is_not_growth_and_a_collection_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """All rounds but the last are disturbed, most of them where it looks like growth."""
    times = [0.9, 0.1, *([0.1, 0.9] * (module.ROUNDS - 3)), 0.1, 0.4, 0.1]
    clock = iter(each for took in times for each in (0.0, took))
    collects: list[bool] = []
    monkeypatch.setattr(time, "thread_time", lambda: next(clock))

    assert growth(lambda _: collects.append(gc.isenabled()), lambda n: n, 1000) == pytest.approx(4)
    assert not any(collects) and gc.isenabled()
    assert next(clock, None) is None
