"""Shared by all tests: a real Valkey for each test process, and a store of its own for each test."""

from __future__ import annotations

import gc
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG

from longrun.embedded import EmbeddedValkey
from longrun.queues.celery.tickets import ticket_template
from longrun.settings import Settings
from longrun.store.store import Store
from tests.chaos.receiver import Receiver
from tests.waiting import PATIENCE

#: Folders whose files take long. They begin first: whichever file ends last decides how long all of it takes.
LONG = ("tests/integration/worker/", "tests/e2e/")
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")
# What httpx waits where nothing is said; it would be 5 s.
for limit in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, limit, PATIENCE)
# What pytest makes of the tests' own source is kept, whatever is said of Python's: each test process would make all of it each time.
sys.dont_write_bytecode = False


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """The thousands of tests that are collected stay: no collection of garbage looks at them, neither now nor later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_sessionfinish() -> None:
    gc.unfreeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A developer's own LONGRUN_* variables must not change what the tests see, nor the tests the developer's folder."""
    for name in [name for name in os.environ if name.startswith("LONGRUN_") and name != "LONGRUN_TEST_REQUIRE"]:
        del os.environ[name]
    os.environ["LONGRUN_DATA"] = str(tmp_path_factory.mktemp("data"))
    # A shell that runs the tests in the background makes them, and all that they start, ignore Ctrl-C; some of the tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """A server for this test process."""
    with EmbeddedValkey(Path(tmp_path_factory.mktemp("valkey"))) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_url(valkey: EmbeddedValkey) -> str:
    """Its URL."""
    return valkey.start()


@pytest.fixture
def prefix() -> str:
    """A key prefix that no other test has."""
    return f"t{uuid.uuid4().hex[:8]}:"


def settings_for(url: str, prefix: str, lease: float = 30) -> Settings:
    """Settings for a busy machine: no lease runs out, and no request is given up, because a process had to wait for a core."""
    return Settings(prefix=prefix, redis_url=url, lease=lease, heartbeat=0.5, grace=1, store_timeout=30)


@pytest.fixture
def lease() -> float:
    """Seconds; a test that waits for the end of one asks for a shorter one, by `@pytest.mark.parametrize("lease", [2])`."""
    return 30


@pytest.fixture
def settings(prefix: str, valkey_url: str, lease: float) -> Settings:
    """Settings on the test's own keys."""
    return settings_for(valkey_url, prefix, lease)


@pytest.fixture
async def store(settings: Settings, valkey_url: str) -> AsyncIterator[Store]:
    """A store with nothing in it."""
    store = Store(valkey_url, settings, ticket_template())
    yield store
    await store.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks on loopback."""
    with Receiver() as receiver:
        yield receiver
