"""Files through the real service: from a path here to a model in its runner, and back to a path here."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from examples.images import sample
from PIL import Image as Pillow
from tests.integration.blobs.conftest import S3Server, aws, bucket, s3_server

from longrun import ApiError, AsyncClient, Client
from longrun.client import AsyncRemoteFile, RemoteFile

from .conftest import IMAGES, LONGRUN, Serve, Service

__all__ = ["aws", "bucket", "s3_server"]

#: Takes files wherever they can stand, and gives files however they can be given.
APP = """
import hashlib
from collections.abc import Iterator
from typing import Annotated

from pydantic import BaseModel

from longrun import File, Image, Limits, model


class Page(BaseModel):
    scan: File
    note: str = ""


@model
def digests(pages: list[Page], cover: File | None = None, more: list[File] = [], title: str | int = "", count: int | None = None) -> dict:
    every = [*(page.scan for page in pages), *([cover] if cover else []), *more]
    return {"digests": [hashlib.sha256(each.read()).hexdigest() for each in every], "names": [each.name for each in every],
            "title": title, "count": count}


@model
def make(sizes: list[int]) -> dict[str, File | list[File]]:
    files = [File(bytes([size % 256]) * size, name=f"{size}.bin") for size in sizes]
    return {"first": files[0], "all": files}


@model
def pieces(count: int) -> Iterator[Image]:
    from PIL import Image as Pillow
    for number in range(count):
        yield Image(Pillow.new("RGB", (4, 4), (number, 0, 0)))


@model
def numbers(count: int) -> list[int]:
    return list(range(count))
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("files")
    (folder / "app.py").write_text(APP)
    service = Service(folder, "app.py", LONGRUN_MAX_FILE="60000000")
    try:
        assert service.url
        yield service
    finally:
        service.close()


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url, "") as client:
        yield client


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "beach.jpg"
    sample().save(path)
    return path


def hexdigest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_picture_goes_to_a_model_and_a_smaller_one_comes_back(images: Service, picture: Path, tmp_path: Path) -> None:
    with Client(images.url, "") as client:
        small = client.run("thumbnail", {"image": picture, "width": 64, "format": "png"}, timeout=60)

        assert isinstance(small, RemoteFile)
        assert (small.content_type, small.name, small.size) == ("image/png", "beach-64x48.png", len(small.read()))
        saved = small.save(tmp_path)
        with Pillow.open(saved) as opened:
            assert (saved.name, opened.size, opened.format) == ("beach-64x48.png", (64, 48), "PNG")
        described = client.run("describe", {"image": small}, timeout=60)  # the output of one is the input of the next
        assert (described["width"], described["height"], described["format"]) == (64, 48, "png")
        assert httpx.get(small.url, trust_env=False).content == saved.read_bytes()


def test_what_a_model_does_not_take_is_told_by_its_field_and_nothing_is_queued(images: Service, tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(b"MZ" + bytes(1000))
    with Client(images.url, "") as client:
        with pytest.raises(ApiError) as caught:
            client.submit("thumbnail", {"image": tmp_path / "cat.png"}, tags=["refused"])
        assert (caught.value.status, caught.value.code) == (415, "unsupported-media")
        assert [each["pointer"] for each in caught.value.errors] == ["/input/image"]
        assert list(client.jobs(tag="refused")) == []


def test_files_arrive_wherever_they_stand_in_an_input(client: Client, tmp_path: Path) -> None:
    texts = [f"text {number}".encode() for number in range(5)]
    path = tmp_path / "zero.txt"
    path.write_bytes(texts[0])
    pages = [{"scan": path, "note": "n"}, {"scan": io.BytesIO(texts[1])}]

    result = client.run("digests", {"pages": pages, "cover": texts[2], "more": [texts[3], texts[4]], "title": "5"}, timeout=60)

    assert result["digests"] == [hexdigest(text) for text in texts]
    assert result["names"][0] == "zero.txt"
    assert (result["title"], result["count"]) == ("5", None)


@pytest.mark.parametrize(("title", "count"), [("null", None), ("", 3), (7, None), ("[1]", 0)])
def test_the_other_fields_of_a_form_are_what_they_were(client: Client, title: Any, count: Any) -> None:
    result = client.run("digests", {"pages": [], "cover": b"x", "more": [], "title": title, "count": count}, timeout=60)
    assert (result["title"], result["count"]) == (title, count)


def test_an_upload_is_used_twice_and_then_deleted(client: Client) -> None:
    file = client.upload(b"keep me", name="keep.txt")
    assert client.file(file.id)["name"] == "keep.txt"
    for _ in range(2):
        result = client.run("digests", {"pages": [{"scan": file}], "cover": file}, timeout=60)
        assert result["digests"] == [hexdigest(b"keep me")] * 2
    job = client.submit("digests", {"pages": [{"scan": file}]}, delay=1)
    client.delete_file(file.id)
    with pytest.raises(ApiError) as caught:
        client.file(file.id)
    assert caught.value.code == "file-gone"
    with pytest.raises(ApiError):
        client.submit("digests", {"pages": [{"scan": file}]})
    assert job.result(timeout=60)["digests"] == [hexdigest(b"keep me")]  # it was promised to that job


def test_the_same_key_and_the_same_bytes_are_the_same_job(client: Client) -> None:
    def submit(cover: Any) -> str:
        return client.submit("digests", {"pages": [], "cover": cover}, idempotency_key="same-bytes").id

    assert submit(b"bytes") == submit(io.BytesIO(b"bytes"))
    with pytest.raises(ApiError) as caught:
        submit(b"other")
    assert caught.value.code == "idempotency-key-reused"


def test_files_of_an_output_are_found_saved_and_stand_in_streams(client: Client, tmp_path: Path) -> None:
    made = client.run("make", {"sizes": [3, 70_000]}, timeout=60)
    assert made["first"].read() == bytes([3]) * 3
    assert [each.save(tmp_path).read_bytes() for each in made["all"]] == [bytes([3]) * 3, bytes([70_000 % 256]) * 70_000]

    job = client.submit("pieces", {"count": 3})
    reds = []
    for piece in job.stream():
        with Pillow.open(io.BytesIO(piece.read())) as opened:
            reds.append(opened.getpixel((0, 0))[0])  # type: ignore[index]
    assert reds == [0, 1, 2]
    assert [each.content_type for each in job.result()] == ["image/png"] * 3


def test_an_output_of_many_bytes_is_fetched_without_being_noticed(client: Client) -> None:
    job = client.submit("numbers", {"count": 100_000})
    assert job.result(timeout=60) == list(range(100_000))
    body = client.job(job.id).body
    assert (body["output"], body["output_file"]["content_type"]) == (None, "application/json")
    assert next(iter(client.jobs(model="numbers"))).result() == list(range(100_000))


def test_a_large_file_is_sent_and_fetched_without_being_held_in_memory(service: Service, tmp_path: Path) -> None:
    data = random.Random(7).randbytes(50_000_000)
    (tmp_path / "large.bin").write_bytes(data)
    source = f"""
import pathlib, resource, longrun
path = pathlib.Path({str(tmp_path / "large.bin")!r})
client = longrun.Client({service.url!r}, "")
small = client.upload(b"warm")
client.download(small, path.with_name("small.bin"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
client.download(client.upload(path), path.with_name("copy.bin"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", source], env=os.environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 10_000  # KB
    assert (tmp_path / "copy.bin").read_bytes() == data


async def test_asyncio_has_the_same_files(service: Service, tmp_path: Path) -> None:
    async with AsyncClient(service.url, "") as client:
        file = await client.upload(io.BytesIO(b"async"), name="a.txt")
        result = await client.run("digests", {"pages": [{"scan": file}], "cover": b"top"}, timeout=60)
        assert result["digests"] == [hexdigest(b"async"), hexdigest(b"top")]
        made = await client.run("make", {"sizes": [9]}, timeout=60)
        assert isinstance(made["first"], AsyncRemoteFile)
        assert (await made["first"].save(tmp_path / "nine")).read_bytes() == b"\t" * 9
        results = [each async for each in client.map("digests", ({"pages": [], "cover": bytes([n])} for n in range(20)))]
        assert [each["digests"] for each in results] == [[hexdigest(bytes([n]))] for n in range(20)]


def test_the_command_line_sends_saves_and_stores(images: Service, picture: Path, tmp_path: Path) -> None:
    def longrun(*words: str) -> str:
        done = subprocess.run(
            [*LONGRUN, *words], env=os.environ | {"LONGRUN_URL": images.url}, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    url, size, kind = longrun("run", "thumbnail", "image=@beach.jpg", "width=50").strip().split("\t")
    assert (len(httpx.get(url, trust_env=False).content), kind) == (int(size), "image/jpeg")
    assert longrun("run", "watermark", "image=@beach.jpg", "text=(c) me", "--save", ".") == "watermarked.jpeg\n"
    file_id, *_ = longrun("files", "upload", "beach.jpg").split("\t")
    assert '"width": 640' in longrun("run", "describe", f"image={file_id}")
    assert longrun("files", "get", file_id) == "beach-2.jpg\n"
    assert (tmp_path / "beach-2.jpg").read_bytes() == picture.read_bytes()
    longrun("files", "rm", file_id)


def test_a_download_that_is_cut_goes_on_and_the_digest_is_compared(service: Service, tmp_path: Path) -> None:
    from tests.chaos.proxy import Proxy

    data = random.Random(3).randbytes(2_000_000)
    with Client(service.url, "") as client, Proxy(int(service.url.rpartition(":")[2])) as proxy:
        file = client.upload(data)
        assert file.digest == "sha-256=" + base64.b64encode(hashlib.sha256(data).digest()).decode()
        with Client(f"http://127.0.0.1:{proxy.port}", "") as far:
            proxy.cut_after(700_000)
            assert far.download(file.id, tmp_path / "copy").read_bytes() == data


def test_files_outlive_the_service(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    first = serve("app.py")
    with Client(first.url, "") as client:
        file = client.upload(b"outlives", name="x.txt")
    first.stop()
    second = serve("app.py")
    with Client(second.url, "") as client:
        assert client.file(file.id).read() == b"outlives"


def test_a_file_over_the_limit_is_refused_with_the_limit_while_it_is_sent(client: Client, tmp_path: Path) -> None:
    with (tmp_path / "huge.bin").open("wb") as file:
        file.truncate(400_000_000)
    begun = time.monotonic()
    for refused in (
        lambda: client.upload(tmp_path / "huge.bin"),
        lambda: client.submit("digests", {"pages": [], "cover": tmp_path / "huge.bin"}),
    ):
        with pytest.raises(ApiError) as caught:
            refused()
        assert (caught.value.status, caught.value.code) == (413, "payload-too-large")
        assert 60_000_000 <= caught.value.problem["limit"] < 70_000_000
    assert time.monotonic() - begun < 60


def test_a_submit_with_a_file_whose_answer_is_lost_makes_one_job(service: Service, client: Client, picture: Path) -> None:
    from tests.chaos.proxy import Proxy

    with Proxy(int(service.url.rpartition(":")[2])) as proxy, Client(f"http://127.0.0.1:{proxy.port}", "") as far:
        lost = proxy.swallow_reply(b"Idempotency-Key")
        job = far.submit("digests", {"pages": [], "cover": picture}, tags=["lost"])
        assert lost.done.is_set()
    assert [each.id for each in client.jobs(tag="lost")] == [job.id]


def test_the_same_key_and_the_same_deep_files_are_the_same_job(client: Client) -> None:
    def submit(scan: bytes) -> str:
        return client.submit("digests", {"pages": [{"scan": scan}]}, idempotency_key="same-deep-bytes").id

    assert submit(b"bytes") == submit(b"bytes")
    with pytest.raises(ApiError) as caught:
        submit(b"other")
    assert caught.value.code == "idempotency-key-reused"


def test_files_of_a_bucket_are_read_from_the_bucket_which_gets_no_key(
    serve: Serve, aws: S3Server, bucket: str, picture: Path, tmp_path: Path
) -> None:
    service = serve(IMAGES, LONGRUN_BLOBS=f"s3://{bucket}/some/prefix", LONGRUN_API_KEYS="me=a-long-key-of-mine")
    with Client(service.url, "a-long-key-of-mine") as client:
        small = client.run("thumbnail", {"image": picture, "width": 64}, timeout=60)
        assert small.save(tmp_path).read_bytes() == small.read()
        led = httpx.get(small.url, trust_env=False)
        assert led.is_redirect
        assert led.headers["location"].startswith(f"{aws.url}/{bucket}/some/prefix/")
        assert client.download(client.upload(picture), tmp_path / "copy").read_bytes() == picture.read_bytes()
        assert client.download(led.headers["location"], tmp_path / "direct").read_bytes() == small.read()
