"""The blob stores under test: a folder, and a bucket of a real S3 server (moto's, a process of its own)."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from longrun.blobs.contract import Blobs
from longrun.blobs.open import open_blobs
from longrun.settings import Settings


@dataclass
class S3Server:
    """A running server. `client` speaks S3 to it without our code."""

    url: str
    client: Any

    @property
    def environment(self) -> dict[str, str]:
        """The usual variables, which point to the server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }

    def make_bucket(self) -> str:
        """The name of a bucket that nobody else has."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=name)
        return name

    def look_at_credentials(self, looks: bool) -> None:
        """Whether it refuses strangers from now on."""
        httpx.post(f"{self.url}/moto-api/reset-auth", content="0" if looks else "inf").raise_for_status()

    def uploads(self, bucket: str) -> list[str]:
        """Keys of multipart uploads that were neither completed nor aborted."""
        return [one["Key"] for one in self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """The server; it takes any credentials."""
    import boto3

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while not _answers(url):
            assert process.poll() is None and time.monotonic() < deadline, "moto's server did not start"
            time.sleep(0.1)
        keys = {"aws_access_key_id": "someone", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        yield S3Server(url, boto3.client("s3", endpoint_url=url, **keys))
    finally:
        process.terminate()
        process.wait(60)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/moto-api/data.json", timeout=10).is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def aws(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The usual variables point to the server."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def bucket(aws: S3Server) -> str:
    """The name of a bucket that no other test has."""
    return aws.make_bucket()


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Blobs]:
    """A blob store on a folder that is not there yet."""
    blobs = open_blobs(Settings(data=tmp_path / "data"))
    yield blobs
    blobs.close()


@pytest.fixture
def s3(bucket: str) -> Blobs:
    """A blob store on the server's bucket."""
    return open_blobs(Settings(blobs=f"s3://{bucket}/some/prefix"))


@pytest.fixture(params=["folder", "s3"])
def blobs(request: pytest.FixtureRequest) -> Blobs:
    """Each blob store in turn."""
    blobs: Blobs = request.getfixturevalue(request.param)
    return blobs


@pytest.fixture
def leftovers(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], list[str]]:
    """What a failed put has left where nobody sees it: half-written files, open multipart uploads."""

    def look() -> list[str]:
        found = [file.name for file in (tmp_path / "data" / "blobs" / ".parts").glob("*")]
        if "bucket" in request.fixturenames or request.node.callspec.params.get("blobs") == "s3":
            found += request.getfixturevalue("aws").uploads(request.getfixturevalue("bucket"))
        return found

    return look
