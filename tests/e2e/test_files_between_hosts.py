"""An API and a worker that share a store and a bucket, and nothing else: as on two hosts."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import PIL.Image
import pytest
from tests import media_files
from tests.e2e.conftest import IMAGES, LONGRUN, wait_for
from tests.integration.blobs.conftest import S3Server, aws, bucket, s3_server

__all__ = ["aws", "bucket", "s3_server"]


class Host:
    """A process in a working folder of its own."""

    def __init__(self, folder: Path, *command: str, **env: str) -> None:
        folder.mkdir()
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*LONGRUN, *command], cwd=folder, env=os.environ | env, stdout=log, stderr=log)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(40)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@pytest.fixture
def url(tmp_path: Path, valkey_url: str, bucket: str) -> Iterator[str]:
    port = free_port()
    shared = {"LONGRUN_REDIS_URL": valkey_url, "LONGRUN_PREFIX": f"h{uuid.uuid4().hex[:8]}:", "LONGRUN_BLOBS": f"s3://{bucket}/files"}
    hosts = [
        Host(tmp_path / "one", "api", IMAGES, "--port", str(port), LONGRUN_DATA=str(tmp_path / "data-one"), **shared),
        Host(tmp_path / "two", "worker", IMAGES, LONGRUN_DATA=str(tmp_path / "data-two"), **shared),
    ]
    base = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: workers(base) == 1)
        yield base
    finally:
        for host in hosts:
            host.stop()
        assert not any((tmp_path / name / "blobs").exists() for name in ("data-one", "data-two")), "nothing was kept on a disk"


def workers(base: str) -> int:
    try:
        return int(httpx.get(f"{base}/readyz").json()["workers"])
    except (httpx.TransportError, KeyError):
        return 0


def test_a_picture_goes_by_the_bucket_and_comes_back_by_it(url: str, aws: S3Server, bucket: str) -> None:
    picture = media_files.saved(media_files.picture(size=(400, 300)), "JPEG")
    with httpx.Client(base_url=f"{url}/api/v1", timeout=60) as caller:
        job = caller.post(
            "/models/thumbnail/jobs", files={"image": ("a.jpg", picture)}, data={"width": "100"}, headers={"Prefer": "wait=30"}
        )
        assert (job.status_code, job.json()["status"]) == (200, "succeeded"), job.text
        result = caller.get(f"/jobs/{job.json()['id']}/result")
        assert result.status_code == 303
        content = httpx.get(url + result.headers["location"])
        assert content.status_code == 307
        assert bucket in content.headers["location"]
        found = httpx.get(content.headers["location"])
        assert found.headers["content-disposition"].startswith("attachment")
        assert PIL.Image.open(io.BytesIO(found.content)).size == (100, 75)
        kept = {one["Key"] for one in aws.client.list_objects_v2(Bucket=bucket)["Contents"]}
        assert {key.count("/") for key in kept if "file_" in key} == {1, 4}, "the input under its id, the output under its claim"
        assert caller.delete(f"/jobs/{job.json()['id']}").status_code == 204
        wait_for(lambda: not [one for one in aws.client.list_objects_v2(Bucket=bucket)["Contents"] if "file_" in one["Key"]])


def test_a_bucket_that_is_gone_is_told_and_stops_nothing_else(url: str, aws: S3Server, bucket: str) -> None:
    for one in aws.client.list_objects_v2(Bucket=bucket).get("Contents", []):
        aws.client.delete_object(Bucket=bucket, Key=one["Key"])
    aws.client.delete_bucket(Bucket=bucket)
    try:
        picture = media_files.saved(media_files.picture(), "PNG")
        answer = httpx.post(f"{url}/api/v1/models/describe/jobs", files={"image": ("a.png", picture)}, timeout=30)
        assert (answer.status_code, answer.json()["code"], answer.json()["retryable"]) == (503, "storage-unavailable", True)
        assert bucket not in answer.text
        wait_for(lambda: httpx.get(f"{url}/readyz").json()["checks"]["files"].startswith("unavailable"))
        assert httpx.get(f"{url}/readyz").status_code == 200
        assert httpx.get(f"{url}/api/v1/models").status_code == 200
        assert httpx.get(f"{url}/api/v1/jobs").json()["jobs"] == []
    finally:
        aws.client.create_bucket(Bucket=bucket)


def test_credentials_that_are_wrong_are_told(url: str, aws: S3Server) -> None:
    aws.look_at_credentials(True)
    try:
        answer = httpx.post(f"{url}/api/v1/files", files={"file": ("a.txt", b"hello")}, timeout=30)
        assert (answer.status_code, answer.json()["code"]) == (503, "storage-unavailable")
        assert httpx.get(f"{url}/livez").status_code == 200
    finally:
        aws.look_at_credentials(False)
    assert httpx.post(f"{url}/api/v1/files", files={"file": ("a.txt", b"hello")}, timeout=30).status_code == 201
