"""Options `--seed S` and `--seeds N` (seeds S, S+1, …), and the cluster that the tests damage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.chaos.caller import Caller
from tests.chaos.cluster import Cluster


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chaos")
    group.addoption(
        "--seed", type=int, default=int(os.environ.get("CHAOS_SEED", "1")), help="first seed of the random kills (default: CHAOS_SEED or 1)"
    )
    group.addoption("--seeds", type=int, default=1, help="how many seeds (default: 1)")


def seeds(config: pytest.Config) -> list[int]:
    # A run that was started above this folder does not know the options.
    first = config.getoption("--seed", 1)
    return list(range(first, first + config.getoption("--seeds", 1)))


def pytest_report_header(config: pytest.Config) -> str:
    return f"chaos seeds: {', '.join(map(str, seeds(config)))}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", seeds(metafunc.config), ids=lambda seed: f"seed={seed}")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Valkey and an API; workers are started by the test."""
    with Cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def caller(cluster: Cluster) -> Iterator[Caller]:
    """A client of `cluster`."""
    with Caller(cluster) as caller:
        yield caller
