"""Which code a step was asked for by."""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path

from longrun.models.place import file_of
from longrun.models.spec import ModelSpec


def code_of(spec: ModelSpec) -> str:
    """8 hex digits of the source of the model's module; empty: it cannot be read, and steps are not found by their place then."""
    module = sys.modules.get(spec.module)
    source: bytes | str | None = None
    try:
        source = Path(file_of(module)).read_bytes() if file_of(module).endswith(".py") else None
        if source is None:
            source = module.__loader__.get_source(spec.module)  # type: ignore[union-attr]
    except (AttributeError, ImportError, OSError):
        return ""
    data = source.encode() if isinstance(source, str) else source or b""
    return sha256(data).hexdigest()[:8] if data else ""
