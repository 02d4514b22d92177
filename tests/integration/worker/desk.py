"""Gives jobs with files to a worker, and reads what they made."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import PIL.Image
from tests.integration.worker.conftest import Caller, Worker

from longrun.blobs.contract import Blobs
from longrun.clock import new_job_id
from longrun.jobs.file_refs import FileRef
from longrun.jobs.policy import Policy
from longrun.jobs.record import JobRecord
from longrun.media.scan import Scanner
from longrun.store.records import NewJob

APP = Path(__file__).with_name("models_that_make_files.py")


@dataclass
class Desk:
    """Gives jobs with files to a worker, as the API does, and reads what they made.

    Args:
        start: starts a worker; None where there is one already.
    """

    caller: Caller
    blobs: Blobs
    url: str
    tmp: Path
    start: Callable[..., Worker] | None = None
    number: int = field(default=0)

    def start_worker(self, *arguments: str, **environment: str) -> Worker:
        """In a folder of its own, with a folder for temporary files of its own."""
        self.number += 1
        folder = self.tmp / f"worker-{self.number}"
        folder.mkdir()
        (self.tmp / "tmp").mkdir(exist_ok=True)
        assert self.start is not None
        given = {"LONGRUN_BLOBS": self.url, "TMPDIR": str(self.tmp / "tmp"), **environment}
        return self.start(*arguments, app=APP, folder=folder, **given)

    @property
    def copies(self) -> list[Path]:
        """What runners have left in the folder for temporary files."""
        return [path for path in (self.tmp / "tmp").rglob("*") if path.is_file() and "longrun-runner-" in str(path)]

    async def until_copied(self) -> None:
        end = time.monotonic() + 60
        while True:
            await asyncio.sleep(0.02)
            if self.copies:
                return
            assert time.monotonic() < end, "nothing was copied"

    async def keep(self, data: bytes, name: str = "") -> FileRef:
        """A file that came with a request."""
        scanner, file_id = Scanner(), new_job_id().replace("job_", "file_")
        scanner.feed(data)
        facts = scanner.close()
        stored = await self.blobs.put_bytes(file_id, data)
        ref = FileRef(file_id, file_id, stored.size, stored.digest, facts.media_type, name, facts.to_json())
        return (await self.caller.store.files.add("t", ref, keep=None)).ref

    async def submit(self, model: str, *files: FileRef, policy: Policy | None = None, input: bytes = b"", **data: Any) -> str:
        given = input or orjson.dumps(data)
        job = NewJob(new_job_id(), "t", model, "default", 5, given, (policy or Policy()).to_json(), files=files)
        assert (await self.caller.store.records.submit(job)).outcome == "new"
        return job.id

    async def run(self, model: str, *files: FileRef, **data: Any) -> JobRecord:
        return await self.caller.end(await self.submit(model, *files, **data))

    async def bytes_of(self, shown: dict[str, Any]) -> bytes:
        """Of a file as it stands in an output, after a look whether all that is said of it is true."""
        record = await self.caller.store.files.read(shown["id"], "t")
        data = await self.blobs.read(record.ref.key, 1 << 30)
        assert shown["url"] == f"longrun-file:{record.ref.id}"
        assert shown["size"] == record.ref.size == len(data)
        digest = "sha-256=" + base64.b64encode(hashlib.sha256(data).digest()).decode()
        assert shown["digest"] == record.ref.digest == digest
        assert shown["content_type"] == record.ref.content_type
        return data

    async def picture(self, shown: dict[str, Any]) -> PIL.Image.Image:
        image = PIL.Image.open(io.BytesIO(await self.bytes_of(shown)))
        facts = (await self.caller.store.files.read(shown["id"], "t")).ref.facts
        assert (facts["width"], facts["height"]) == image.size
        return image

    async def colours(self, shown: list[dict[str, Any]]) -> list[int]:
        return [(await self.picture(each)).getpixel((0, 0))[0] for each in shown]  # type: ignore[index]


def output(job: JobRecord) -> Any:
    assert job.status == "succeeded", job.error
    return orjson.loads(job.output or b"")


def error(job: JobRecord) -> Any:
    assert job.status == "failed", job.output
    return orjson.loads(job.error or b"")
