"""The same studio without a server: steps run on threads of this process, and are gone when it dies.

python -m examples.design_studio.in_process "a tea house in the hills" JADE --out logos
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from .calls import CallLog, read, tally
from .domain import Busy, Design, Order, Provider, Style, Unavailable, Verdict, design
from .pictures import brand
from .provider import chosen_provider

T = TypeVar("T")
Choose = Callable[[Sequence[bytes], Verdict], Awaitable[int | None]]
_TRIES = 5


async def nobody(pictures: Sequence[bytes], verdict: Verdict) -> None:
    """No person is asked: the judge's choice stands."""


class Threads:
    """The domain's queue on a pool of threads; pictures are bytes.

    Args:
        backoff: seconds before a failed call is made again, doubled each time.
    """

    def __init__(self, provider: Provider, calls: CallLog, *, choose: Choose = nobody, backoff: float = 1.0) -> None:
        self._provider, self._calls, self._choose, self._backoff = provider, calls, choose, backoff
        self._pool = ThreadPoolExecutor(os.cpu_count())

    async def analyse(self, brief: str) -> Style:
        return await self._run("analyse", None, lambda key: self._provider.analyse(brief, key))

    def draw(self, prompt: str, style: Style, version: int) -> Awaitable[bytes]:
        return self._run("draw", version, lambda key: self._provider.draw(prompt, style, version, key))

    def finish(self, draft: bytes, name: str, style: Style, version: int) -> Awaitable[bytes]:
        return self._run("finish", version, lambda _: brand(self._provider.enlarge(draft), name, style, version))

    async def together(self, steps: Sequence[Awaitable[bytes]]) -> list[bytes]:
        done = await asyncio.gather(*steps, return_exceptions=True)  # all of them: what was paid for is not dropped
        for each in done:
            if isinstance(each, BaseException):
                raise each
        return [each for each in done if isinstance(each, bytes)]

    async def judge(self, pictures: Sequence[bytes], name: str) -> Verdict:
        return await self._run("judge", None, lambda key: self._provider.judge(pictures, name, key))

    async def choose(self, pictures: Sequence[bytes], verdict: Verdict) -> int | None:
        return await self._choose(pictures, verdict)

    async def _run(self, step: str, version: int | None, work: Callable[[str], T]) -> T:
        key = os.urandom(16).hex()  # one for all tries

        def call() -> T:
            with self._calls.call(step, version, key):
                return work(key)

        for tried in range(_TRIES):
            try:
                return await asyncio.get_running_loop().run_in_executor(self._pool, call)
            except Unavailable as error:
                if tried == _TRIES - 1:
                    raise
                await asyncio.sleep(error.after if isinstance(error, Busy) else self._backoff * 2**tried)
        raise AssertionError("unreachable")


def main() -> None:
    parser = argparse.ArgumentParser(description="Design a logo in this process.")
    parser.add_argument("brief")
    parser.add_argument("name")
    parser.add_argument("--out", type=Path, default=Path("logos"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    log = asked.out / "calls.jsonl"
    log.unlink(missing_ok=True)
    begun = time.monotonic()
    made: Design[bytes] = asyncio.run(design(Order(asked.brief, asked.name), Threads(chosen_provider(), CallLog(log))))
    took = time.monotonic() - begun
    for version, picture in enumerate(made.versions):
        path = asked.out / f"version-{version + 1}.png"
        path.write_bytes(picture)
        chosen = "   <- chosen" if version == made.chosen else ""
        print(f"{path}   {made.verdict.scores[version]:.3f}   {made.verdict.reasons[version]}{chosen}")
    print(f"{took:.1f} s; the steps add up to {sum(each.seconds for each in tally(read(log))):.1f} s")


if __name__ == "__main__":
    main()
