"""A server that answers as a test tells it, and nothing of a server in the environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.unit.scripted import ScriptedServer, scripted_server


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture(autouse=True)
def no_server_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("LONGRUN_URL", "LONGRUN_KEY", "LONGRUN_PORT", "LONGRUN_APP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
