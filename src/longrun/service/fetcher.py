"""Fetching what callers name by a URL, with one guarded client for all of it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from functools import cached_property
from typing import TYPE_CHECKING

from longrun.settings import Settings

if TYPE_CHECKING:
    from longrun.webhooks.guard import Fetched, GuardedClient


class UrlFetcher:
    """Fetches URLs of inputs.

    The client is made when the first one is to be fetched: it reads the list of certificates, and loads httpx, which workers do without.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _client(self) -> GuardedClient:
        from longrun.webhooks.guard import GuardedClient, Networks

        return GuardedClient(Networks(self._settings.allowed_networks), timeout=self._settings.fetch_timeout)

    def fetch(self, url: str, *, max_bytes: int) -> AbstractAsyncContextManager[Fetched]:
        """See `GuardedClient.fetch`."""
        return self._client.fetch(url, max_bytes=max_bytes)

    async def close(self) -> None:
        """End the threads that look names up."""
        if "_client" in vars(self):
            await self._client.close()
