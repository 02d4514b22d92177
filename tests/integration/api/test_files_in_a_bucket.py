"""Files that a bucket keeps: read from it, by whoever may."""

from __future__ import annotations

import httpx
from tests.integration.api.conftest import app_of, calling
from tests.integration.api.stored import ANN, BOB, DATA, FILES, add
from tests.integration.blobs.conftest import aws, bucket, s3_server

from longrun.settings import Settings

__all__ = ["aws", "bucket", "s3_server"]  # fixtures


async def test_who_may_read_is_sent_to_the_bucket_and_nobody_else(keyed: Settings, bucket: str) -> None:
    async with calling(app_of(keyed.model_copy(update={"blobs": f"s3://{bucket}/files"}))) as caller:
        file = await add(caller, name="a b.bin", headers=ANN)
        path = f"{FILES}/{file['id']}/content"
        for answer in (await caller.get(path, headers=ANN), await caller.get(file["url"])):
            assert (answer.status_code, answer.headers["cache-control"]) == (307, "no-store")
            async with httpx.AsyncClient(trust_env=False) as reader:
                found = await reader.get(answer.headers["location"])
                part = await reader.get(answer.headers["location"], headers={"Range": "bytes=5-9"})
            assert (found.content, part.content) == (DATA, DATA[5:10])
            assert found.headers["content-disposition"].startswith("attachment")
        assert (await caller.get(path)).status_code == 401
        assert (await caller.get(path, headers=BOB)).status_code == 404
        assert (await caller.get(file["url"][:-1] + "_")).status_code == 403


async def test_what_is_asked_of_the_head_is_answered_here(keyed: Settings, bucket: str) -> None:
    async with calling(app_of(keyed.model_copy(update={"blobs": f"s3://{bucket}/files"}))) as caller:
        file = await add(caller, headers=ANN)
        answer = await caller.head(file["url"])
        assert (answer.status_code, answer.headers["content-length"]) == (200, str(len(DATA)))
