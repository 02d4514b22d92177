"""Flows whose steps fail, in each way."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from models_for_steps import both, broken, gate, is_open, never, note, work

from longrun import Canceled, Retry, StepFailed, model


class Odd(Exception):
    """Cannot be pickled, nor made from its arguments."""

    def __init__(self, one: Any, *, two: Any) -> None:
        super().__init__()
        self.lock = (lambda: one), two


@model(queue="work", concurrency=16)
def odd(to: str) -> None:
    """Raises that."""
    note(to, "odd")
    raise Odd(1, two=2)


@model(queue="other", delivery="at_most_once")
def dies(to: str) -> str:
    """The runner dies with it, unless the test has mended it: whether it was done is not known."""
    note(to, "dies")
    if not is_open(to, "mend-dies"):
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def facts(error: Any) -> Any:
    """What a failure is."""
    if not isinstance(error, BaseException):
        return error
    assert type(error) is StepFailed
    return [error.code, error.detail, error.cause, error.step, error.job_id]


@both()
async def gathers(job: Any, to: str, n: int) -> list[Any]:
    """Three side by side, of which the first and the last fail, the last at once. n: 0 plain, 1 return_exceptions, 2 fail_fast."""
    calls = [job.call(broken, name="b1", to=to, failure=True, wait=True), job.call(work, name="w", to=to, wait=True),
             job.call(broken, name="b2", to=to, failure=True)]  # fmt: skip
    options: dict[str, Any] = {} if n == 0 else {"return_exceptions": True} if n == 1 else {"fail_fast": True}
    try:
        found = [facts(each) for each in await job.gather(*calls, **options)]
    except StepFailed as error:
        found = facts(error)
    note(to, "gathered")
    return found


@both()
async def catches(job: Any, to: str, n: int) -> list[Any]:
    """Fails in each way, catches it, and waits: what it gets is the same when it runs again."""
    note(to, "flow")
    found = []
    calls = [job.call(broken, name="error", to=to), job.call(broken, name="failure", to=to, failure=True), job.call(odd, to=to),
             job.call(never, to=to, timeout=0.05, key="late")]  # fmt: skip
    for call in calls:
        try:
            await job.run(call)
        except StepFailed as error:
            found.append(facts(error))
    try:
        await job.step("local", fails, to)
    except StepFailed as error:
        found.append(facts(error))
    seen = await job.step("seen", list, found)
    await job.run(work, name="last", to=to)
    return [found, seen]


def fails(to: str) -> None:
    """A local step that does."""
    note(to, "local")
    raise Odd(1, two=2)


@both()
async def passes_on(job: Any, to: str, n: int) -> None:
    """Does not catch it."""
    await job.run(broken, name="b", to=to, failure=n == 1)


@both(retry=Retry(2, backoff=0))
async def retries(job: Any, to: str, n: int) -> list[str]:
    """Fails once, and mends what has failed meanwhile."""
    again = is_open(to, "again")
    kept = [await job.run(work, name="kept", to=to), await job.step("paid", note, to, "paid")]
    calls = [job.call(broken, name="b", to=to, key="b"), job.call(work, name="canceled", to=to, wait=True, key="canceled")]
    late = job.call(never, to=to, key="late", timeout=0.05)
    found = await job.gather(*calls, late, return_exceptions=True)
    note(to, "-".join(getattr(each, "code", "ok") for each in found))
    if not again:
        for name in ("mend-b", "canceled", "again"):
            opened(to, name)
        raise ValueError("once more")
    return [*map(str, kept), *map(str, found[:2])]


def opened(to: str, name: str) -> None:
    """Open a gate."""
    with open(f"{to}/gate-{name}", "w"):  # noqa: PTH123
        pass


@both(retry=Retry(2, backoff=0))
async def unknown(job: Any, to: str, n: int) -> list[Any]:
    """Steps of which nobody knows whether they were done."""
    note(to, "flow")
    found = []
    for call in (lambda: job.run(dies, to=to), lambda: job.step("once", once, to, once=True)):
        try:
            found.append(await call())
        except StepFailed as error:
            found.append(facts(error)[0])
    note(to, "-".join(found))
    if "outcome-unknown" in found:
        raise ValueError("once more")
    return found


def once(to: str) -> str:
    """Dies with the runner of the flow at its first call."""
    if note(to, "once") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


@both()
async def fourth(job: Any, to: str, n: int) -> list[str]:
    """Three steps of which the last fails until it is mended."""
    found = [await job.run(work, name="one", to=to), await job.run(work, name="two", to=to, key="two")]
    found.append(await job.step("paid", paid, to))
    return [*found, await job.run(broken, name="b", to=to)]


@model(queue="work", concurrency=16)
def stubborn(to: str) -> str:
    """Does not stop at once when it is asked to."""
    times = note(to, "stubborn")
    try:
        if times == 1:
            gate(to, "stubborn")
    except Canceled:
        time.sleep(0.4)
        raise
    return f"stubborn {times}"


@both()
async def gives_up(job: Any, to: str, n: int) -> list[str]:
    """Fails at the first failure, while another step is still being stopped."""
    return await job.gather(job.call(stubborn, to=to), job.call(broken, name="b", to=to, wait=True), fail_fast=True)


@both(retry=Retry(2, backoff=0))
async def gives_up_once(job: Any, to: str, n: int) -> list[str]:
    """The same, and tries again by itself."""
    try:
        return await job.gather(job.call(stubborn, to=to), job.call(broken, name="b", to=to, wait=True), fail_fast=True)
    except StepFailed as error:
        note(to, error.code)
        opened(to, "mend-b")
        raise


@both()
async def answered(job: Any, to: str, n: int) -> list[Any]:
    """Asks and sleeps, then fails until that is mended."""
    found = [await job.wait_for("word"), await job.sleep(0.01)]
    return [*found, await job.run(broken, name="b", to=to)]


def paid(to: str) -> str:
    """A local step that costs."""
    note(to, "paid")
    return "paid"


@both()
async def waits_for_one(job: Any, to: str, n: int) -> list[Any]:
    """Catches what becomes of its only step."""
    try:
        return [await job.run(work, name="child", to=to, wait=True)]
    except StepFailed as error:
        return facts(error)
