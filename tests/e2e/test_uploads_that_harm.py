"""Uploads that were made to do harm, against the real service: refused at the door, with its memory as it was."""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from tests import media_files
from tests.e2e.conftest import Service

MODELS = """
from typing import Annotated
from longrun import File, Image, Limits, Model

class Small(Model):
    def predict(self, file: Annotated[File, Limits(max_bytes=10_000_000)]) -> int:
        return len(file.read())

class Look(Model, processes=1):
    def predict(self, image: Annotated[Image, Limits(max_pixels=40_000_000)]) -> list[int]:
        return list(image.pil("RGB").size)
"""
MB = 1 << 20


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("harm")
    (folder / "app.py").write_text(MODELS)
    running = Service(folder, "app.py")
    assert running.url
    yield running
    running.stop()


def api(service: Service) -> psutil.Process:
    return service.role("api")


def submit(service: Service, model: str, **files: tuple[str, bytes]) -> httpx.Response:
    return httpx.post(f"{service.url}/api/v1/models/{model}/jobs", files=files, headers={"Prefer": "wait=30"}, timeout=60)


def kept(service: Service) -> list[str]:
    blobs = service.data / "blobs"
    return [path.name for path in blobs.rglob("*") if path.is_file() and path.name != "longrun-store"] if blobs.exists() else []


def connected(service: Service) -> socket.socket:
    parts = urlsplit(service.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=30)


def answered(sock: socket.socket) -> tuple[int, dict[str, Any]]:
    """The answer on a connection, read to its end."""
    data = b""
    try:
        while piece := sock.recv(1 << 16):
            data += piece
    except ConnectionResetError:
        pass
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def head_of(model: str, *headers: str) -> bytes:
    lines = [f"POST /api/v1/models/{model}/jobs HTTP/1.1", "Host: localhost", "Content-Type: multipart/form-data; boundary=x", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'


def test_a_body_of_a_gigabyte_is_refused_by_its_head(service: Service) -> None:
    before = api(service).memory_info().rss
    with connected(service) as sock:
        sock.sendall(head_of("small", f"Content-Length: {1 << 30}"))
        status, problem = answered(sock)
    assert (status, problem["code"]) == (413, "payload-too-large")
    assert problem["limit"] >= 10_000_000
    assert api(service).memory_info().rss - before < 8 * MB


@pytest.mark.parametrize("how", ["chunked", "a length that lies"])
def test_a_gigabyte_whose_head_does_not_tell_is_cut_off_at_the_limit(service: Service, how: str) -> None:
    before, sent = api(service).memory_info().rss, 0
    piece = bytes(64 * 1024)
    with connected(service) as sock:
        length = "Transfer-Encoding: chunked" if how == "chunked" else "Content-Length: 10000500"
        sock.sendall(head_of("small", length))
        frame = (lambda data: b"%x\r\n%s\r\n" % (len(data), data)) if how == "chunked" else (lambda data: data)
        sock.sendall(frame(PART))
        try:
            while sent < 1 << 30:
                sock.sendall(frame(piece))
                sent += len(piece)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            pass
        if how == "chunked":
            status, problem = answered(sock)
            assert (status, problem["code"], problem["rule"], problem["limit"]) == (413, "payload-too-large", "max_bytes", 10_000_000)
    # What the kernel's buffers on both sides take is not the service's.
    assert sent < 10_000_000 + 16 * MB
    assert api(service).memory_info().rss - before < 24 * MB
    wait_until_nothing_is_kept(service)


def wait_until_nothing_is_kept(service: Service) -> None:
    deadline = time.monotonic() + 60
    while kept(service):
        assert time.monotonic() < deadline, kept(service)
        time.sleep(0.2)


def test_a_picture_of_fifty_thousand_by_fifty_thousand_is_refused_by_its_header(service: Service) -> None:
    bomb = media_files.png_head(50_000, 50_000) + media_files.PIXEL + media_files.png_chunk(b"IEND")
    submit(service, "look", image=("a.png", bomb))
    before = api(service).memory_info().rss
    answer = submit(service, "look", image=("a.png", bomb))
    assert (answer.status_code, answer.json()["rule"], answer.json()["limit"]) == (422, "max_pixels", 40_000_000)
    assert api(service).memory_info().rss - before < 8 * MB
    wait_until_nothing_is_kept(service)


@pytest.mark.slow
def test_a_thousand_damaged_pictures_kill_nothing(service: Service) -> None:
    dice = random.Random(6)
    originals = list(media_files.PICTURES.values())
    alive = {process.pid for process in service.processes() if process.is_running()}
    seen: dict[str, int] = {}
    with httpx.Client(base_url=f"{service.url}/api/v1", timeout=60, headers={"Prefer": "wait=30"}) as caller:
        for _ in range(1000):
            _, data = dice.choice(originals)
            answer = caller.post("/models/look/jobs", files={"image": ("upload", damaged(data, dice))})
            assert answer.status_code in (200, 413, 415, 422), answer.text
            job = answer.json()
            what = f"{answer.status_code} {job.get('status')} {(job.get('error') or {}).get('code', '')}"
            seen[what] = seen.get(what, 0) + 1
            assert job.get("status") != "failed" or job["error"]["code"] == "validation-failed", job
    assert len(seen) >= 3, seen
    assert {process.pid for process in service.processes() if process.is_running()} == alive


def damaged(data: bytes, dice: random.Random) -> bytes:
    """Some bytes changed, some missing, some added."""
    held = bytearray(data)
    for _ in range(dice.randint(1, 8)):
        at, what = dice.randrange(len(held)), dice.random()
        if what < 0.7:
            held[at] = dice.randrange(256)
        elif what < 0.85:
            del held[at : at + dice.randint(1, 40)]
        else:
            held[at:at] = dice.randbytes(dice.randint(1, 40))
        held = held or bytearray(b"?")
    return bytes(held)


def test_a_name_is_never_a_path(service: Service, tmp_path: Path) -> None:
    answer = httpx.post(f"{service.url}/api/v1/files", files={"file": ("../../../etc/cron.d/evil", b"x")})
    assert answer.status_code == 201, answer.text
    assert answer.json()["name"] == "evil"
    assert not (service.data / "etc").exists()
