"""What every verb needs."""

from __future__ import annotations

from dataclasses import dataclass, field

from longrun.blobs.contract import Blobs
from longrun.blobs.open import open_blobs
from longrun.jobs.policy import Policy
from longrun.models import ModelSpec, Registry
from longrun.service.fetcher import UrlFetcher
from longrun.service.gate import Gate
from longrun.service.storage_health import StorageHealth
from longrun.service.urls import UrlSigner
from longrun.settings import Settings
from longrun.store.store import Store


@dataclass(frozen=True, slots=True)
class Parts:
    """The open parts of a running service.

    Args:
        gate: whether jobs may be accepted; default: always. Somebody has to run its `watch`.
        blobs: the blob store; default: the one that `settings` name.
        storage_health: what /readyz says of it.
        urls: signs URLs of files.
        fetcher: fetches URLs of inputs.
        policies: of the models that were asked for so far, see `longrun.service.submit.policy_of`.
    """

    settings: Settings
    store: Store
    models: Registry
    gate: Gate = field(default_factory=Gate)
    blobs: Blobs = field(default=None)  # type: ignore[assignment]  # never None once it is made
    storage_health: StorageHealth = field(init=False)
    urls: UrlSigner = field(init=False)
    fetcher: UrlFetcher = field(init=False)
    policies: dict[ModelSpec, Policy] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.blobs is None:
            object.__setattr__(self, "blobs", open_blobs(self.settings))
        object.__setattr__(self, "storage_health", StorageHealth(self.blobs))
        object.__setattr__(self, "urls", UrlSigner(self.store))
        object.__setattr__(self, "fetcher", UrlFetcher(self.settings))

    async def close(self) -> None:
        """Close the connections to the store, and give back what the blob store holds."""
        self.storage_health.close()
        try:
            await self.fetcher.close()
            await self.store.close()
        finally:
            self.blobs.close()
