"""Option `--seeds`, the marker `gate`, and the cluster that the tests damage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.chaos.caller import Caller
from tests.chaos.cluster import Cluster
from tests.chaos.provider import Provider
from tests.chaos.trees import Flows


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chaos")
    group.addoption("--seeds", default="", help="seeds of the random faults, such as `3,7` (default: CHAOS_SEED, or 1)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "gate: one of the rows of the fault matrix (FAULTS.md) that tell most; all of them together take two minutes"
    )
    config.addinivalue_line("markers", "cluster(...): arguments of the test's `Cluster`")
    config.addinivalue_line("markers", "first(fixture): the version that the test begins with, see test_two_versions.py")


def seeds(config: pytest.Config) -> list[int]:
    # A run that was started above this folder does not know the option.
    named = config.getoption("--seeds", "") or os.environ.get("CHAOS_SEED", "")
    return [int(seed) for seed in named.replace(",", " ").split()] or [1]


def pytest_report_header(config: pytest.Config) -> str:
    found = seeds(config)
    return f"chaos seeds: {', '.join(map(str, found))}; once more: make chaos SEED={','.join(map(str, found))}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", seeds(metafunc.config), ids=lambda seed: f"seed={seed}")


@pytest.fixture
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Valkey and an API; workers are started by the test. `@pytest.mark.cluster(...)` says how."""
    marker = request.node.get_closest_marker("cluster")
    with Cluster(tmp_path, **(marker.kwargs if marker else {})) as cluster:
        yield cluster


@pytest.fixture
def caller(cluster: Cluster) -> Iterator[Caller]:
    """A client of `cluster`."""
    with Caller(cluster) as caller:
        yield caller


@pytest.fixture
def provider() -> Iterator[Provider]:
    """What the models of models_that_run_models.py buy from."""
    with Provider() as provider:
        yield provider


@pytest.fixture
def flows(cluster: Cluster, caller: Caller, provider: Provider) -> Flows:
    """Submits flows of that app, for a `Cluster` of it."""
    return Flows(cluster, caller, provider)
