"""What every verb needs."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from longrun.blobs.contract import Blobs
from longrun.blobs.open import open_blobs
from longrun.jobs.policy import Policy
from longrun.models import ModelSpec, Registry
from longrun.service.admission import Admission
from longrun.service.storage_health import StorageHealth
from longrun.service.urls import UrlSigner
from longrun.settings import Settings
from longrun.steps import await_steps
from longrun.store.store import Store

if TYPE_CHECKING:
    from longrun.webhooks.guard import GuardedClient


class Parts:
    """The open parts of a running service.

    Args:
        admission: whether jobs may be accepted; default: always. Somebody has to run its `watch`.
        blobs: the blob store; default: the one that `settings` name.

    Attributes:
        storage_health: what /readyz says of the blob store.
        urls: signs URLs of files.
        policies: of the models that were asked for so far, see `longrun.service.submit.policy_of`.
    """

    def __init__(
        self, settings: Settings, store: Store, models: Registry, admission: Admission | None = None, blobs: Blobs | None = None
    ) -> None:
        self.settings, self.store, self.models = settings, store, models
        self.admission, self.blobs = admission or Admission(), blobs or open_blobs(settings)
        self.storage_health, self.urls = StorageHealth(self.blobs), UrlSigner(store)
        self.policies: dict[ModelSpec, Policy] = {}

    @cached_property
    def fetcher(self) -> GuardedClient:
        """Fetches URLs of inputs. Made when it is first needed: it reads the list of certificates, and loads httpx."""
        from longrun.webhooks.guard import GuardedClient, Networks

        return GuardedClient(Networks(self.settings.allowed_networks), timeout=self.settings.fetch_timeout)

    async def close(self) -> None:
        """Close the connections to the store, and give back what the blob store holds."""
        await await_steps(
            (
                ("stop looking at the blob store", self.storage_health.close),
                *((("close the fetcher of inputs", self.fetcher.close),) if "fetcher" in vars(self) else ()),
                ("close the store", self.store.close),
                ("close the blob store", self.blobs.close),
            )
        )
