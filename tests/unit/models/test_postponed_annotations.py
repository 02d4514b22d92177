"""The author's file may start with `from __future__ import annotations`, as this one does."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from longrun.models import Job, Model, batched, model


class Ask(BaseModel):
    text: str


def test_types_of_the_module_are_found():
    @model
    @batched(max_size=2)
    def shout(asks: list[Ask], jobs: list[Job] | None) -> list[str]:
        return [ask.text.upper() for ask in asks]

    assert shout.__longrun__.input.fields == ["text"]
    assert shout.__longrun__.signature.job is not None


def test_types_of_the_enclosing_function_are_found():
    class Local(BaseModel):
        size: int

    @model
    def grow(local: Local, job: Job) -> Local:
        return local

    class Grow2(Model):
        def predict(self, local: Local) -> Iterator[Local]:
            yield local

    assert grow.__longrun__.input.fields == ["size"]
    assert Grow2.__longrun__.input.fields == ["size"]


def test_types_of_an_outer_function_are_found():
    class Outer(BaseModel):
        size: int

    class Both(BaseModel):
        outer: int

    def define():
        class Both(BaseModel):
            inner: int

        @model
        def grow(outer: Outer, both: Both) -> str: ...

        return grow

    described = define().__longrun__.input.json_schema()["$defs"]
    assert list(described["Outer"]["properties"]) == ["size"]
    assert list(described["Both"]["properties"]) == ["inner"]
    assert list(Both.model_fields) == ["outer"]


def test_a_local_type_hides_one_of_the_module():
    class Ask(BaseModel):
        other: int

    @model
    def grow(ask: Ask) -> str: ...

    assert grow.__longrun__.input.fields == ["other"]


def test_types_inside_the_model_are_found_and_its_methods_hide_nothing():
    class Captioner(Model):
        class Question(BaseModel):
            image: str

        def list(self) -> None: ...

        def predict(self, question: Question) -> list[str]: ...

    assert Captioner.__longrun__.input.fields == ["image"]
    assert Captioner.__longrun__.output.json_schema() == {"items": {"type": "string"}, "type": "array"}
