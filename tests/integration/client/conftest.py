"""The app over a real Valkey on real sockets, a proxy before it that cuts connections, and a worker that the tests play."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.chaos.proxy import Proxy
from tests.integration.api.conftest import PlayedWorker, app_of, listening

from longrun.client import AsyncClient
from longrun.settings import Settings
from longrun.store.store import Store


@pytest.fixture
def worker(store: Store) -> PlayedWorker:
    """The worker that the tests play."""
    return PlayedWorker(store)


@pytest.fixture
async def port(settings: Settings) -> AsyncIterator[int]:
    """Where the app listens."""
    async with listening(app_of(settings)) as port:
        yield port


@pytest.fixture
def url(port: int) -> str:
    """The app's URL."""
    return f"http://127.0.0.1:{port}"


@pytest.fixture
async def client(url: str) -> AsyncIterator[AsyncClient]:
    """A client of the app."""
    async with AsyncClient(url, "") as client:
        yield client


@pytest.fixture
def proxy(port: int) -> Iterator[Proxy]:
    """A way to the app that breaks when it is told to."""
    with Proxy(port) as proxy:
        yield proxy


@pytest.fixture
async def far(proxy: Proxy) -> AsyncIterator[AsyncClient]:
    """A client that comes through the proxy."""
    async with AsyncClient(f"http://127.0.0.1:{proxy.port}", "") as client:
        yield client
