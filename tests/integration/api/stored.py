"""A stored file, for tests of files."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import httpx
from tests.integration.api.conftest import API

FILES = f"{API}/files"
DATA = bytes(range(256)) * 40  #: 10,240 bytes
DIGEST = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
ETAG = f'"sha-256={DIGEST}"'
OCTETS = {"Content-Type": "application/octet-stream"}
#: Two tenants of `keyed` settings.
ANN, BOB = {"Authorization": "Bearer ann-key"}, {"Authorization": "Bearer bob-key"}


async def add(caller: httpx.AsyncClient, data: bytes = DATA, name: str = "data.bin", **options: Any) -> dict[str, Any]:
    """Store a file and give its body."""
    answer = await caller.post(FILES, files={"file": (name, data)}, **options)
    assert answer.status_code == 201, answer.text
    file: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"{FILES}/{file['id']}"
    return file
