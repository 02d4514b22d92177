"""Batch keys of inputs that are kept as files: read in time, or the job shares its batch with nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson

from longrun.blobs.contract import Blobs
from longrun.blobs.folder import Folder
from longrun.jobs.file_refs import FileRef, reference
from longrun.jobs.policy import Policy
from longrun.models import isolated_registry, load_target
from longrun.store.claims import Claim
from longrun.worker.dispatch.lane import Lane
from longrun.worker.runner.settings import RunnerSettings
from longrun.worker.supervise.seat import Group
from longrun.worker.supervise.terms import Terms

MODELS = Path(__file__).parents[2] / "integration/worker/models_that_make_files.py"
with isolated_registry() as registry:
    SPECS = {spec.name: spec for spec in load_target(str(MODELS), registry)}


class Slow(Folder):
    """Does not answer for one key, and counts reads."""

    reading = most = reads = 0

    async def read(self, key: str, limit: int) -> bytes:
        self.reads += 1
        self.reading += 1
        self.most = max(self.most, self.reading)
        try:
            await asyncio.sleep(600 if key == "file_hangs" else 0.01)
            return await super().read(key, limit)
        finally:
            self.reading -= 1


def claim(number: int, data: bytes) -> Claim:
    return Claim(f"job_{number}", "1/n", data, Policy(), "", 0, 0, 0)


async def kept(blobs: Blobs, name: str, tongue: str) -> bytes:
    data = orjson.dumps({"tongue": tongue})
    await blobs.put_bytes(name, data)
    return reference(FileRef(name, name, len(data), ""))


def lane(model: str) -> Lane:
    return Lane(SPECS[model], Group(RunnerSettings(models={model: 1}), Terms(), [SPECS[model].lane]), lambda _: None)


async def test_keys_of_small_and_large_inputs_are_the_same_and_few_are_read_at_once(tmp_path: Path) -> None:
    blobs = Slow(tmp_path)
    small = orjson.dumps({"tongue": "de"})
    claims = [claim(n, await kept(blobs, f"file_{n}", "de" if n % 2 else "fr")) for n in range(20)]
    keys = await lane("tongues").keys([claim(99, small), None, *claims], blobs, within=60)
    assert keys == [(b'"de"',), (), *[(b'"de"',) if n % 2 else (b'"fr"',) for n in range(20)]]
    assert blobs.most == 4


async def test_what_cannot_be_read_in_time_or_at_all_has_a_key_of_its_own(tmp_path: Path) -> None:
    blobs = Slow(tmp_path)
    lost, hangs = (reference(FileRef(name, name, 10, "")) for name in ("file_lost", "file_hangs"))
    broken = await kept(blobs, "file_broken", "de")
    await blobs.put_bytes("file_broken", b"[")
    async with asyncio.timeout(60):
        keys = await lane("tongues").keys([claim(1, lost), claim(2, hangs), claim(3, lost), claim(4, broken)], blobs, within=1)
    assert len(set(keys)) == 4
    assert () not in keys


async def test_a_model_without_keys_has_nothing_read(tmp_path: Path) -> None:
    blobs = Slow(tmp_path)
    large = reference(FileRef("file_1", "file_1", 10, ""))
    assert await lane("turn_together").keys([claim(1, large), None], blobs, within=1) == [(), ()]
    assert await lane("turn").keys([claim(1, large)], blobs, within=1) == [()]
    assert blobs.reads == 0
