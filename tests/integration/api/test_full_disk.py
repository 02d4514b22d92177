"""The disk of the files is full: what needs it is refused, nothing is left of it, and everything else goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests import media_files
from tests.integration.api.conftest import API, app_of, calling

from longrun.settings import Settings

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux alone has /dev/full")


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every write of a file goes where there is no room."""
    full, write = os.open("/dev/full", os.O_WRONLY), os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda _, data: write(full, data))
        yield
    os.close(full)


def left(folder: Path) -> list[str]:
    return [file.name for file in folder.rglob("*") if file.is_file() and file.name != "longrun-store"]


@pytest.mark.usefixtures("full_disk")
async def test_uploads_are_507_and_other_routes_are_alive(settings: Settings, tmp_path: Path) -> None:
    keeping = settings.model_copy(update={"blobs": f"file://{tmp_path}/blobs"})
    async with calling(app_of(keeping)) as caller:
        refused = [
            await caller.post(f"{API}/files", files={"file": ("a.txt", b"hello")}),
            await caller.post(f"{API}/models/collage/jobs", files={"cover": ("a.png", media_files.saved(media_files.picture(), "PNG"))}),
            await caller.post(f"{API}/models/echo/jobs", json={"input": {"value": "x" * 100_000}}),
        ]
        for answer in refused:
            assert (answer.status_code, answer.json()["code"], answer.json()["retryable"]) == (507, "storage-full", True), answer.text
            assert str(tmp_path) not in answer.text
        ready = await caller.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["checks"]["files"].startswith("full: ")
        assert (await caller.post(f"{API}/models/echo/jobs", json={"input": {"value": "small"}})).status_code == 202
        listed: httpx.Response = await caller.get(f"{API}/jobs")
        assert len(listed.json()["jobs"]) == 1
    assert left(tmp_path / "blobs") == []
