"""The studio on Longrun: `longrun serve examples/design_studio/flow.py`, then order from the model `logo`.

Each step is a job of its own: what has finished is not done again when a process dies. Calls are logged to the file STUDIO_CALLS, if set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from longrun import Image, Job, Model, Retry, RetryAfter, StepFailed, model

from .calls import CallLog
from .domain import NAME_PATTERN, VERSIONS, Busy, Order, Style, Unavailable, Verdict, design
from .pictures import brand
from .provider import chosen_provider

CALLS = CallLog(Path(os.environ["STUDIO_CALLS"]) if "STUDIO_CALLS" in os.environ else None)
#: Local models keep a core busy each, so there are two runners of those that have most to do. A service is waited for.
PROCESSES, AT_ONCE = (1, 8) if os.environ.get("STUDIO_URL") else (2, 1)
RETRY = Retry(5, on=(Unavailable,), backoff=0.5)

Version = Annotated[int, Field(ge=0, lt=VERSIONS, description="Which version of the logo, from 0.")]


class _Step(Model):
    """A model whose work a provider does."""

    step: str

    def load(self, device: str) -> None:
        self.provider = chosen_provider()
        self.provider.load(self.step)

    @contextmanager
    def call(self, job: Job, version: int | None = None) -> Iterator[str]:
        """Around a call: the key that names this piece of work to the provider, in every attempt."""
        with CALLS.call(self.step, version, job.idempotency_key):
            try:
                yield job.idempotency_key
            except Busy as error:
                raise RetryAfter(error.after, str(error)) from error


class Analyse(_Step, threads=1, concurrency=AT_ONCE, retry=RETRY):
    """Find the style that a brief asks for."""

    step = "analyse"

    def predict(self, brief: str, job: Job) -> Style:
        with self.call(job) as key:
            return self.provider.analyse(brief, key)


class Draw(_Step, processes=PROCESSES, threads=1, concurrency=AT_ONCE, retry=RETRY):
    """Draw one version."""

    step = "draw"

    def predict(self, prompt: str, style: Style, version: Version, job: Job) -> Image:
        with self.call(job, version) as key:
            return Image(self.provider.draw(prompt, style, version, key), name=f"draft-{version + 1}.png")


class Finish(_Step, processes=PROCESSES, threads=1, concurrency=AT_ONCE, retry=RETRY):
    """Enlarge a draft, and make a logo of it."""

    step = "finish"

    def predict(self, draft: Image, name: str, style: Style, version: Version, job: Job) -> Image:
        with self.call(job, version):
            return Image(brand(self.provider.enlarge(draft.read()), name, style, version), name=f"version-{version + 1}.png")


class Judge(_Step, threads=1, concurrency=AT_ONCE, retry=RETRY):
    """Say which version is best, and why."""

    step = "judge"

    def predict(self, pictures: Annotated[list[Image], Field(min_length=1)], name: str, job: Job) -> Verdict:
        with self.call(job) as key:
            return self.provider.judge([picture.read() for picture in pictures], name, key)


class Choice(BaseModel):
    """What a person answers to the ask `choose`."""

    version: Annotated[int, Field(ge=1, le=VERSIONS, description="The version that you like best, counted from 1.")]


class Logo(BaseModel):
    """A finished order. Versions are counted from 1."""

    picture: Annotated[Image, Field(description="The chosen version.")]
    chosen: int
    chosen_by: Literal["person", "judge"]
    versions: list[Image]
    scores: list[float]
    reasons: list[str]


class Jobs:
    """The domain's queue: each step is a job below this one; pictures are files that Longrun stores.

    Args:
        patience: seconds in which a person may choose.
    """

    def __init__(self, job: Job, patience: float) -> None:
        self._job, self._patience = job, patience

    async def analyse(self, brief: str) -> Style:
        style: Style = await self._job.run(Analyse, brief=brief)
        return style

    def draw(self, prompt: str, style: Style, version: int) -> Any:
        return self._job.call(Draw, prompt=prompt, style=style, version=version)

    def finish(self, draft: Image, name: str, style: Style, version: int) -> Any:
        return self._job.call(Finish, draft=draft, name=name, style=style, version=version)

    async def together(self, steps: Sequence[Any]) -> list[Image]:
        return list(await self._job.gather(*steps))

    async def judge(self, pictures: Sequence[Image], name: str) -> Verdict:
        verdict: Verdict = await self._job.run(Judge, pictures=list(pictures), name=name)
        return verdict

    async def choose(self, pictures: Sequence[Image], verdict: Verdict) -> int | None:
        ask = {"pictures": list(pictures), "judge_chose": verdict.best + 1}
        try:
            choice: Choice = await self._job.wait_for("choose", Choice, ask=ask, timeout=self._patience)
        except StepFailed as error:
            if error.code != "wait-timeout":
                raise
            return None
        return choice.version - 1


@model
async def logo(
    brief: Annotated[str, Field(min_length=1, max_length=2000, description="What the logo is for, in plain words.")],
    name: Annotated[str, Field(pattern=NAME_PATTERN, description="What it shows.")],
    job: Job,
    patience: Annotated[float, Field(ge=0, le=7 * 86_400, description="Seconds in which a person may choose.")] = 60,
) -> Logo:
    """Four versions of a logo, of which a person chooses one. When nobody answers in time, the judge's choice stands."""
    with CALLS.call("logo", key=job.id):
        made = await design(Order(brief, name), Jobs(job, patience))
    return Logo(
        picture=made.versions[made.chosen],
        chosen=made.chosen + 1,
        chosen_by="person" if made.by_person else "judge",
        versions=made.versions,
        scores=made.verdict.scores,
        reasons=made.verdict.reasons,
    )
