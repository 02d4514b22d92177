"""Models that are given files, and make some."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

import PIL.Image
from pydantic import BaseModel

from longrun import Audio, File, Image, Job, Limits, Model, Retry, batched, model


def turned(image: Image) -> Image:
    return Image(image.pil("RGB").rotate(180), name="turned.png")


def coloured(number: int) -> PIL.Image.Image:
    return PIL.Image.new("RGB", (8, 8), (number, 0, 0))


@model
def turn(image: Annotated[Image, Limits(max_pixels=1_000_000)]) -> Image:
    return turned(image)


@model
async def turn_async(image: Image) -> Image:
    return await asyncio.to_thread(turned, image)


class Ask(BaseModel):
    image: Image
    mirrored: bool = False


@model
@batched(max_size=8, max_wait_ms=300)
def turn_together(asks: list[Ask]) -> list[Image | None]:
    if any(ask.image.name == "alone.png" for ask in asks) and len(asks) > 1:
        raise ValueError("not with others")
    return [turned(ask.image) for ask in asks]


@model
def colours(count: int, job: Job) -> Iterator[PIL.Image.Image]:
    for number in range(count):
        job.progress(number / count)
        yield coloured(number)


@model
async def colours_async(count: int) -> AsyncIterator[PIL.Image.Image]:
    for number in range(count):
        yield coloured(number)


@model
def echo(text: str) -> str:
    return text


@model
async def echo_async(text: str) -> dict[str, Any]:
    return {"text": text}


class Said(BaseModel):
    tongue: str
    text: str = ""


@model
@batched(max_size=8, max_wait_ms=500, key=("tongue",))
def tongues(said: list[Said]) -> list[list[str]]:
    """Of all that share the call."""
    return [[each.tongue for each in said]] * len(said)


@model
def make(count: int, size: int = 1) -> list[bytes]:
    return [number.to_bytes(4, "big") * size for number in range(count)]


@model(concurrency=10)
async def make_async(text: str) -> File:
    return File(text.encode(), name="../notes\u202e.txt", content_type="text/html")


@model
def describe(file: File) -> dict[str, Any]:
    return {"name": file.name, "type": file.content_type, "size": file.size, "format": file.format, "text": file.read().decode()}


@model
def spoil(file: File, audio: Audio | None = None) -> dict[str, Any]:
    """Change the copy, and read the file again."""
    path = file.path()
    path.write_bytes(b"spoilt")
    return {"path": str(path), "again": file.read().decode(), "other": file.path().read_text()}


@model
def give_back(file: File) -> list[File]:
    return [file, File(b"new")]


@model(retry=Retry(2, backoff=0.05))
def keep_copy(file: File, seconds: float, job: Job) -> str:
    path = file.path()
    job.log(str(path))
    time.sleep(seconds if job.attempt == 1 else 0)
    return str(path)


@model
def draw_and_die(job: Job) -> Iterator[PIL.Image.Image]:
    """Its process dies between two pictures, the first time."""
    yield coloured(1)
    if job.attempt == 1:
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)
    yield coloured(2)


@model
def from_disk(path: str) -> File:
    return File(Path(path))


class Decoder(Model):
    """In a runner of its own, for files that are meant to do harm."""

    def predict(self, image: Image) -> list[int]:
        return [*image.pil("RGB").size, os.getpid()]
