"""What a request may cost the API, whatever its body is: memory, and time in which the event loop serves nobody else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.conftest import settings_for
from tests.integration.api.hostile_bodies import CASES, QUICK

MEGABYTE = 1024 * 1024
pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of a process is read from Linux's /proc")


@pytest.fixture(scope="module")
def measure(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sequence[str]], list[dict[str, Any]]]:
    """Has a process of its own answer these cases."""

    def measure(names: Sequence[str]) -> list[dict[str, Any]]:
        settings = settings_for(valkey_url, "bounded:").model_copy(update={"blobs": tmp_path_factory.mktemp("blobs").as_uri()})
        text = orjson.dumps(settings.model_dump(mode="json", include={"prefix", "redis_url", "blobs", "store_timeout"})).decode()
        program = [sys.executable, "-m", "tests.integration.api.measured", text, *names]
        done = subprocess.run(program, stdout=subprocess.PIPE, check=True)
        return [orjson.loads(line) for line in done.stdout.splitlines()]

    return measure


def _check(found: list[dict[str, Any]]) -> None:
    wrong = [each for each in found if each["status"] not in CASES[each["name"]].answers]
    assert not wrong, "answered in another way"
    assert not [each for each in found if each["bytes"] > 150 * MEGABYTE], "too much memory"
    assert not [each for each in found if each["step"] > 0.1], "a step of the loop takes too long"
    assert not [each for each in found if each["held"] > 0.1], "the loop is held by another thread"
    assert not [each for each in found if each["size"] > 32 * 1024], "the answer gives the body back"


def test_no_body_up_to_the_limit_costs_much_memory_or_holds_the_loop(measure: Any) -> None:
    found = measure(QUICK)
    assert [each["name"] for each in found] == list(QUICK)
    _check(found)


@pytest.mark.slow
def test_nor_does_any_other_of_them(measure: Any) -> None:
    others = [name for name in CASES if name not in QUICK]
    found = measure(others)
    assert [each["name"] for each in found] == others
    _check(found)
