"""What every verb needs."""

from __future__ import annotations

from dataclasses import dataclass, field

from longrun.models import Registry
from longrun.service.gate import Gate
from longrun.settings import Settings
from longrun.store.store import Store


@dataclass(frozen=True, slots=True)
class Parts:
    """The open parts of a running service.

    Args:
        gate: whether jobs may be accepted; default: always. Somebody has to run its `watch`.
    """

    settings: Settings
    store: Store
    models: Registry
    gate: Gate = field(default_factory=Gate)
