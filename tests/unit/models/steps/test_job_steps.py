"""What `job.run` and its like do, in sync and async code, with a bare `Job()`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, computed_field
from tests.unit.models.steps.authored import RAN, echo, pair

from longrun import File, Image, Job, Model, Retry, RetryAfter, StepConflict, StepFailed, StepRefused, batched, model
from longrun.models import isolated_registry


class Colour(Enum):
    RED = "red"


class Inner(BaseModel):
    model_config = ConfigDict(extra="allow")

    when: datetime = Field(alias="When")
    size: int = 3


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sides: int = Field(serialization_alias="Sides", validation_alias="n")
    inner: Inner | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def is_square(self) -> bool:
        return self.sides == 4


@dataclass
class Point:
    x: int
    tags: set[str]


with isolated_registry():

    @model
    def shape(shape: Shape) -> Shape:
        return shape

    @model
    def shapes(given: list[Shape], one: Shape | None = None) -> dict[str, list[Shape]]:
        return {"all": given}

    @model
    def size_of(file: File, note: str = "") -> int:
        return file.size or 0

    @model
    def files() -> dict[str, Any]:
        return {"list": [b"abc", Image(b"not really")], "none": None}

    @model
    def raw() -> bytes:
        return b"bytes"

    @model
    async def words(text: str) -> AsyncIterator[str]:
        for word in text.split():
            yield word

    @model
    def numbers(most: int) -> Iterator[int]:
        yield from range(most)

    @model
    @batched
    def together(asks: list[Shape]) -> list[int]:
        return [ask.sides for ask in asks]

    class Loaded(Model):
        def load(self, device: str) -> None:
            self.device = device

        def predict(self, text: str) -> str:
            return f"{text} on {self.device}"

    @model(retry=Retry(3, on=(ConnectionError,)))
    def shaky(job: Job, until: int) -> int:
        RAN.append(job.attempt)
        if job.attempt < until:
            raise ConnectionError
        return job.attempt

    @model
    def nested(depth: int, job: Job) -> int:
        return 0 if not depth else 1 + job.run(nested, depth=depth - 1)

    @model
    async def anested(depth: int, job: Job) -> int:
        return 0 if not depth else 1 + await job.run(nested if depth % 2 else anested, depth=depth - 1)

    @model
    def clashes(key: str, timeout: float = 1, input: str = "") -> str:
        return f"{key} {timeout:g} {input}"

    @model
    def keyed(job: Job) -> str:
        return job.idempotency_key


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    RAN.clear()


# -- inputs and outputs -------------------------------------------------------------------------------------------------------------------


def test_inputs_are_python_values_of_any_kind() -> None:
    job, when = Job(), datetime(2026, 1, 2, tzinfo=UTC)
    given = {"c": Colour.RED, "p": Point(1, {"b", "a"}), "i": Inner(When=when, more=1), "t": (1, 2), "w": when}  # type: ignore[call-arg]
    assert job.run(echo, value=given) == {
        "c": "red",
        "p": {"x": 1, "tags": ["a", "b"]},
        "i": {"When": "2026-01-02T00:00:00Z", "size": 3, "more": 1},
        "t": [1, 2],
        "w": "2026-01-02T00:00:00Z",
    }


def test_objects_say_all_that_they_hold_by_the_names_under_which_they_are_read() -> None:
    """Also a default, which may be another one in the process that runs the step, and nothing that is computed."""
    job, square = Job(), Shape(n=4, inner=Inner(When=datetime(2026, 1, 1)))  # type: ignore[call-arg]
    for found in (
        job.run(shape, square),
        job.run(shape, shape=square),
        job.run(shape, n=4, inner=square.inner),
        job.run(shape, {"n": 4}) and square,
    ):
        assert found == square
    assert job.run(shapes, given=[square], one=square) == {"all": [square]}
    assert job.run(together, n=3) == 3


def test_outputs_are_what_the_return_annotation_says() -> None:
    job = Job()
    assert job.run(pair) == (1, "a")
    assert job.run(numbers, most=3) == [0, 1, 2]
    assert job.run(words, text="a b c") == "abc"
    assert job.run(Loaded, text="a") == "a on cpu"
    assert job.run(echo, value=2**70) == 2**70


def test_files_go_by_id_and_are_opened_when_they_are_read(tmp_path: Path) -> None:
    job, path = Job(), tmp_path / "a.txt"
    path.write_bytes(b"four")
    assert [job.run(size_of, file=each) for each in (b"abc", path, File(b"12345"), "data:,hi")] == [3, 4, 5, 2]
    made = job.run(files)
    assert made["list"][0].read() == b"abc"
    assert isinstance(job.run(raw), File)
    assert job.run(size_of, file=made["list"][1]) == 10
    assert job.run(size_of, file=made["list"][0].id) == 3
    with pytest.raises(StepRefused, match="a URL is fetched by the API alone"):
        job.run(size_of, file="https://example.com/a.png")


def test_what_json_cannot_hold_or_the_model_does_not_allow_is_refused() -> None:
    job = Job()
    for wrong in (float("nan"), object(), "\ud800", [[[]] * 2**3] and _deep(70)):
        with pytest.raises(StepRefused, match="/input"):
            job.run(echo, value=wrong)
    for call in (
        job.call(numbers, most="x"),
        job.call(numbers, most=1, more=2),
        job.call(numbers, {"most": 1}, least=2),
        job.call("nobody", a=1),
    ):
        with pytest.raises(StepRefused) as caught:
            job.run(call)
        assert isinstance(caught.value, StepFailed)
    assert RAN == []


def _deep(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def test_options_are_told_from_input_fields_of_the_same_name() -> None:
    job = Job()
    with pytest.raises(TypeError, match=r"give the whole input as input=\{'key': …\}"):
        job.call(clashes, key="a")
    assert job.run(clashes, {"key": "a"}, key="name", timeout=5) == "a 1 "
    assert job.run(clashes, input={"key": "a", "timeout": 3, "input": "i"}, timeout=5) == "a 3 i"
    assert job.run(echo, input={"value": 1}) == 1
    assert job.call(echo, value=1, key="n", timeout=2, stream=True).options == {"timeout": 2.0, "stream": True}
    for wrong in ({"timeout": -1}, {"timeout": "x"}, {"key": "\n"}, {"key": 5}):
        with pytest.raises(ValueError, match=r"seconds|name of a step"):
            job.call(echo, value=1, **wrong)
    with pytest.raises(TypeError, match="is no model"):
        job.call(print, value=1)


# -- other steps --------------------------------------------------------------------------------------------------------------------------


def double(number: int, *, by: int = 2) -> tuple[int, int]:
    RAN.append(number)
    return number, number * by


async def adouble(number: int) -> Annotated[Shape, "x"]:
    return Shape(n=number)  # type: ignore[call-arg]


def breaks(error: BaseException) -> None:
    RAN.append(type(error))
    raise error


def test_a_function_is_a_step() -> None:
    job = Job()
    assert job.step("double", double, 2, by=3) == (2, 6)
    assert job.step("double", double, 2, by=3) == (2, 6)
    assert RAN == [2], "the same step, which was done"
    with pytest.raises(StepConflict):
        job.step("double", double, 3)
    assert job.step("of anything", lambda: {"a": (1, {2})}) == {"a": [1, [2]]}, "as JSON has it, and as a replay gives it"
    assert job.step("file", lambda: File(b"abc")).read() == b"abc"
    with pytest.raises(StepFailed) as caught:
        job.step("breaks", breaks, ValueError("secret"))
    assert (caught.value.code, caught.value.cause, caught.value.step) == ("model-error", "ValueError", "l:breaks")
    assert isinstance(caught.value.__cause__, ValueError), "for the log"
    with pytest.raises(StepFailed):
        job.step("breaks", breaks, ValueError("secret"))
    assert [2, ValueError] == RAN
    for _ in range(2):  # nothing of these is kept
        with pytest.raises(RetryAfter):
            job.step("busy", breaks, RetryAfter(3))
        with pytest.raises(KeyboardInterrupt):
            job.step("stopped", breaks, KeyboardInterrupt())
    assert [2, ValueError, *[RetryAfter, KeyboardInterrupt] * 2] == RAN
    with pytest.raises(StepFailed, match="TypeError"):
        job.step("async", adouble, 4)
    with pytest.raises(ValueError, match="name of a step"):
        job.step("", double, 1)
    assert job.step("once", double, 9, once=True) == (9, 18)


async def test_an_async_function_is_a_step_of_an_async_model() -> None:
    job = Job()
    assert await job.step("a", adouble, 4) == Shape(n=4)  # type: ignore[call-arg]
    assert await job.step("b", double, 4) == (4, 8)
    assert await asyncio.gather(job.step("c", adouble, 5), job.step("c", adouble, 5)) == [Shape(n=5)] * 2  # type: ignore[call-arg]


def test_signals_and_sleep() -> None:
    job = Job(signals={"go": {"sides": 1}, "shape": {"n": 4}, "late": TimeoutError})
    assert job.wait_for("go") == {"sides": 1}
    assert job.wait_for("shape", Shape) == Shape(n=4)  # type: ignore[call-arg]
    job.sleep(3 * 86_400)
    for name, code in (("late", "wait-timeout"), ("nobody", "wait-timeout")):
        with pytest.raises(StepFailed) as caught:
            job.wait_for(name, ask={"image": Image(b"x")})
        assert caught.value.code == code
    for wrong in ("", "a b", "..", "a/b", "ä"):
        with pytest.raises(ValueError, match="a signal is called by"):
            job.wait_for(wrong)
    for seconds in (-1, float("nan"), float("inf"), "1", True):
        with pytest.raises(ValueError, match="number of seconds"):
            job.sleep(seconds)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="65,536 at most"):
        job.wait_for("big", ask="x" * 70_000)


def test_what_a_step_runs_may_fail_run_again_and_run_steps() -> None:
    job = Job()
    assert job.run(shaky, until=3) == 3
    with pytest.raises(StepFailed, match="ConnectionError"):
        job.run(shaky, until=4)
    assert RAN == [1, 2, 3, 1, 2, 3]
    assert job.run(nested, depth=5) == 5
    assert job.run(anested, depth=5) == 5
    with pytest.raises(StepFailed, match="step-failed: Jobs may be steps of steps 10 deep") as caught:
        job.run(nested, depth=50)
    assert caught.value.code == "step-failed"


async def test_sync_in_async_and_async_in_sync() -> None:
    job = Job()
    assert await job.run(anested, depth=6) == 6
    assert await asyncio.to_thread(lambda: Job().run(anested, depth=6)) == 6


def test_keys_derive_from_the_job_and_the_step() -> None:
    job = Job(id="job_a")
    assert job.key("post") == job.key("post") != Job(id="job_b").key("post")
    assert job.run(keyed, key="child") == job.key("n:child")
    assert job.idempotency_key == "job_a"


def test_time_and_chance_are_the_jobs_own() -> None:
    job = Job()
    assert job.now().tzinfo is UTC
    assert Job(id="a").random.random() == Job(id="a").random.random() != Job(id="b").random.random()
    assert (job.spent("usd"), job.has("old")) == (0.0, False)
