"""Models that say on which device they are, and how they were made ready."""

from __future__ import annotations

import asyncio
import os
import time

from longrun import Model, model

#: Seen when the interpreter of a runner has just started.
VISIBLE = os.environ.get("CUDA_VISIBLE_DEVICES")


class OnGpu(Model, queue="devices", gpus=1):
    def load(self, device: str) -> None:
        import torch

        self.torch, self.device = torch, device

    def predict(self) -> list[str | int | None]:
        time.sleep(0.3)  # long enough that the other runner gets the next one
        return [self.device, VISIBLE, self.torch.VISIBLE, os.getpid()]


class OnCpu(Model, queue="devices"):
    def load(self, device: str) -> None:
        self.device = device

    def predict(self) -> str:
        return self.device


class Warm(Model, queue="warm"):
    """Says in what order it was made ready."""

    def load(self, device: str) -> None:
        self.steps = ["load"]

    def warmup(self) -> None:
        self.steps.append("warmup")
        time.sleep(0.05)
        if os.environ.get("COLD"):
            raise OSError("it stays cold")

    def predict(self) -> list[str]:
        return self.steps


class WarmAsync(Model, queue="warm"):
    async def warmup(self) -> None:
        await asyncio.sleep(0.01)
        self.warm = True

    async def predict(self) -> bool:
        return self.warm


@model(queue="llm", concurrency=2000)
async def ask(seconds: float, block: float = 0.0) -> float:
    """Waits as a call of an LLM does; `block` does not let the loop turn."""
    time.sleep(block)  # noqa: ASYNC251
    await asyncio.sleep(seconds)
    return seconds


class Burn(Model, queue="llm"):
    """Keeps a core busy."""

    def predict(self, seconds: float) -> int:
        end, n = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            n += 1
        return n
