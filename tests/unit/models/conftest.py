import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from longrun.models import Registry, isolated_registry


@pytest.fixture(autouse=True)
def registry() -> Iterator[Registry]:
    with isolated_registry() as registry:
        yield registry


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]
