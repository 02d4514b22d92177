"""Everything that cannot be served is refused where it is written, with what to write instead."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from longrun.errors import AuthoringError
from longrun.models import Job, Model, batched, model


class Ask(BaseModel):
    text: str


def refused(function: Callable[..., Any]) -> str:
    """The message with which the function is refused."""
    with pytest.raises(AuthoringError) as caught:
        model(function)
    message = str(caught.value)
    assert "test_wrong_authoring.py, line " in message
    return message


def test_a_parameter_without_a_type():
    def predict(text) -> str: ...

    assert "text has no type; write `text: str`" in refused(predict)


def test_no_return_type():
    def predict(text: str): ...

    assert "say what it returns, such as `-> str`" in refused(predict)


def test_star_parameters():
    def many(*texts: str) -> str: ...
    def named(**texts: str) -> str: ...

    assert "*texts" in refused(many)
    assert "**texts" in refused(named)


def test_positional_only_parameters():
    def predict(text: str, /) -> str: ...

    assert "remove the `/`" in refused(predict)


def test_a_field_as_the_default():
    def predict(count: int = Field(3, ge=1)) -> str: ...

    assert "Annotated" in refused(predict)


def test_two_job_parameters():
    def predict(first: Job, second: Job | None) -> str: ...

    assert "first and second are both Job parameters" in refused(predict)


@pytest.mark.parametrize("annotation", [Ask, list[str], list[int], dict[str, Ask], list])
def test_a_batch_of_anything_but_a_list_of_a_base_model(annotation):
    @batched
    def predict(asks: annotation) -> list[str]: ...

    assert "exactly one list of a BaseModel" in refused(predict)


def test_a_batch_with_two_lists_or_none():
    @batched
    def two(asks: list[Ask], others: list[Ask]) -> list[str]: ...

    @batched
    def none() -> list[str]: ...

    assert "exactly one list of a BaseModel" in refused(two)
    assert "exactly one list of a BaseModel" in refused(none)


@pytest.mark.parametrize("annotation", [str, dict[str, str], Any, list, tuple[str, ...]])
def test_a_batch_that_does_not_return_a_list_of_something(annotation):
    @batched
    def predict(asks: list[Ask]) -> annotation: ...

    assert "write `-> list[str]`" in refused(predict)


def test_a_batch_that_streams():
    @batched
    def predict(asks: list[Ask]) -> Iterator[str]:
        yield "a"

    assert "a batch cannot be streamed" in refused(predict)


def test_one_job_in_a_batch_and_many_without_one():
    @batched
    def one(asks: list[Ask], job: Job) -> list[str]: ...

    def many(text: str, jobs: list[Job]) -> str: ...

    assert "write `job: list[Job]`" in refused(one)
    assert "write `jobs: Job`" in refused(many)


def test_a_batch_key_that_is_not_a_field():
    @batched(key=("txt",))
    def predict(asks: list[Ask]) -> list[str]: ...

    assert "'txt' is not an input field; did you mean text?" in refused(predict)


def test_batched_outside_of_model():
    @model
    def predict(text: str) -> str: ...

    with pytest.raises(AuthoringError, match="put it under @model"):
        batched(predict)


def test_an_annotation_that_names_nothing():
    def predict(text: "Missing") -> str: ...  # noqa: F821

    assert "'Missing' is not defined" in refused(predict)


def test_an_annotation_that_is_not_python():
    def predict(text: "list[") -> str: ...  # noqa: F722

    assert "an annotation cannot be resolved" in refused(predict)


def test_a_base_model_that_refers_to_nothing():
    class Half(BaseModel):
        other: "Missing"  # noqa: F821

    def predict(half: Half) -> str: ...

    assert "the input Half is of a type that JSON cannot describe" in refused(predict)


class Opaque:
    pass


@pytest.mark.parametrize("annotation", [Opaque, Callable[[], int], list[Opaque], dict[str, Job]])
def test_a_parameter_of_a_type_that_is_no_json_is_named(annotation):
    def predict(text: str, thing: annotation) -> str: ...

    assert "the parameter thing is of a type that JSON cannot describe" in refused(predict)


def test_a_return_type_that_is_no_json():
    def predict(text: str) -> Opaque: ...

    assert "the return annotation is of a type that JSON cannot describe" in refused(predict)


@pytest.mark.parametrize("annotation", [str, list[str], AsyncIterator[str]])
def test_a_generator_that_does_not_say_so(annotation):
    def predict(text: str) -> annotation:
        yield text

    assert "write `-> Iterator[" in refused(predict)


@pytest.mark.parametrize("annotation", [str, Iterator[str]])
def test_an_async_generator_that_does_not_say_so(annotation):
    async def predict(text: str) -> annotation:
        yield text

    assert "write `-> AsyncIterator[" in refused(predict)


@pytest.mark.parametrize("annotation", [Iterator[str], AsyncIterator[str]])
def test_a_coroutine_that_promises_a_stream(annotation):
    async def predict(text: str) -> annotation: ...

    assert "has to `yield`" in refused(predict)


@pytest.mark.parametrize("name", ["Upper", "a.b", "_x", "", "a" * 65, "ä", 3])
def test_bad_names(name):
    def predict(text: str) -> str: ...

    with pytest.raises(AuthoringError, match="is not a model name; pass name="):
        model(name=name)(predict)


def test_things_that_are_no_functions():
    with pytest.raises(AuthoringError, match=r"write `class Ask\(Model\)"):
        model(Ask)
    with pytest.raises(AuthoringError, match="decorates a function"):
        model(len)


def test_predict_that_is_no_method():
    with pytest.raises(AuthoringError, match="predict is a property"):

        class Wrong(Model):
            @property
            def predict(self) -> str: ...


def test_load_without_a_device_or_async_for_a_plain_predict():
    with pytest.raises(AuthoringError, match="load is called with the device"):

        class NoDevice(Model):
            def load(self) -> None: ...
            def predict(self, text: str) -> str: ...

    with pytest.raises(AuthoringError, match="load is async but predict is not"):

        class Async(Model):
            async def load(self, device: str) -> None: ...
            def predict(self, text: str) -> str: ...


def test_a_constructor_with_arguments():
    with pytest.raises(AuthoringError, match="workers make it without arguments"):

        class Wrong(Model):
            def __init__(self, weights: str) -> None: ...
            def predict(self, text: str) -> str: ...


def test_a_refused_model_is_not_registered(registry):
    def predict(text) -> str: ...

    refused(predict)
    assert len(registry) == 0


def test_annotated_limits_are_not_mistaken_for_a_field_default():
    def predict(count: Annotated[int, Field(ge=1)] = 3) -> str: ...

    assert model(predict).__longrun__.input.fields == ["count"]
