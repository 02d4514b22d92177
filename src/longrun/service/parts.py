"""What every verb needs."""

from __future__ import annotations

from dataclasses import dataclass

from longrun.models import Registry
from longrun.settings import Settings
from longrun.store.store import Store


@dataclass(frozen=True, slots=True)
class Parts:
    """The open parts of a running service."""

    settings: Settings
    store: Store
    models: Registry
