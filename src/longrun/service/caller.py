"""Who asks."""

from __future__ import annotations

from dataclasses import dataclass

from longrun.blobs.contract import Blobs
from longrun.models import Registry
from longrun.service.admission import Admission
from longrun.service.parts import Parts
from longrun.service.urls import UrlSigner
from longrun.settings import Settings
from longrun.store.store import Store
from longrun.version import API_PREFIX


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and the open service that answers. What works without anybody asking, such as a chore, has no caller.

    Args:
        parts: the open service.
        tenant: whose jobs, batches, files and webhooks these are; empty: nobody that is known.
        base: what stands before `/jobs` in the URLs that the caller is shown.
    """

    parts: Parts
    tenant: str
    base: str = API_PREFIX

    @property
    def store(self) -> Store:
        """The store."""
        return self.parts.store

    @property
    def blobs(self) -> Blobs:
        """The blob store."""
        return self.parts.blobs

    @property
    def settings(self) -> Settings:
        """The operator's settings."""
        return self.parts.settings

    @property
    def models(self) -> Registry:
        """What is served."""
        return self.parts.models

    @property
    def admission(self) -> Admission:
        """Whether jobs may be accepted."""
        return self.parts.admission

    @property
    def urls(self) -> UrlSigner:
        """Signs URLs of files."""
        return self.parts.urls

    @property
    def debug(self) -> bool:
        """Whether problems of jobs are shown with their tracebacks."""
        return self.parts.settings.expose_errors
