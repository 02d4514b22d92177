"""Five small models to play with; they need nothing but Longrun: `longrun serve examples/hello.py`, then open /docs."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from longrun import Failure, Job, Model, Retry, batched, model


@model
def shout(text: Annotated[str, Field(min_length=1, max_length=1000)], marks: Annotated[int, Field(ge=0, le=10)] = 1) -> str:
    """Say it louder: the smallest model there is."""
    return text.upper() + "!" * marks


@model(timeout=120)
async def brew(drink: Literal["tea", "coffee"], job: Job, seconds: Annotated[float, Field(ge=0, le=60)] = 5) -> dict[str, str]:
    """Take your time, and say how far you are. Cancel it on the way: it stops at the next `job.progress`."""
    steps = ["boil", "pour", "wait", "serve"]
    for number, step in enumerate(steps):
        job.progress(number / len(steps), step)
        await asyncio.sleep(seconds / len(steps))
    job.progress(1, "done")
    return {"cup": drink}


@model
async def count(to: Annotated[int, Field(ge=1, le=1000)] = 10, pause: Annotated[float, Field(ge=0, le=5)] = 0.2) -> AsyncIterator[int]:
    """Stream numbers; the output in the end is the list of them."""
    for number in range(1, to + 1):
        yield number
        await asyncio.sleep(pause)


class Tell(Model):
    """Stream a text word by word; the output in the end is the text."""

    def load(self, device: str) -> None:
        self.ending = f" (told on {device})"

    def predict(self, text: Annotated[str, Field(min_length=1, max_length=8192)], job: Job) -> Iterator[str]:
        words = text.split(" ")
        for number, word in enumerate(words, start=1):
            time.sleep(0.1)
            job.progress(number / len(words), "telling")
            yield word if number == len(words) else f"{word} "
        yield self.ending


class Number(BaseModel):
    value: Annotated[float, Field(description="A negative one fails, and fails alone.")]


class SquareRoot(Model, retry=Retry(3, on=(OSError,), backoff=0.5)):
    """Jobs that wait at the same time are computed together; the output says how many they were."""

    @batched(max_size=16, max_wait_ms=20)
    def predict(self, numbers: list[Number]) -> list[dict[str, float]]:
        time.sleep(0.05)
        return [self.root(number.value, len(numbers)) for number in numbers]  # an exception in the list fails its item

    def root(self, value: float, together: int) -> dict[str, float] | Failure:
        if value < 0:
            return Failure("a negative number has no real square root")
        return {"root": value**0.5, "together": together}
