"""`type X = …` means what it stands for, wherever an author writes it: as a statement or of typing_extensions."""

from __future__ import annotations

import json
import re
import sys
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import numpy
import PIL.Image
import pytest
import typing_extensions
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from longrun import AuthoringError, File, Image, Job, Limits, batched, model
from longrun.models import ModelSpec
from longrun.models.aliases import unaliased

ID = f"file_{'0' * 32}"


class Ask(BaseModel):
    text: str


NAMES = {
    **{each.__name__: each for each in (Ask, BaseModel, Callable, File, Image, Iterator, Job, Limits)},
    **{
        "Annotated": Annotated,
        "Any": Any,
        "Field": Field,
        "PIL": PIL,
        "NDArray": NDArray,
        "np": numpy,
        "typing": typing,
        "batched": batched,
    },
}


def execute(source: str, names: dict[str, Any]) -> None:
    """Run it as a file that does not postpone annotations, unlike this one."""
    exec(compile(source, "app.py", "exec", dont_inherit=True), names)


def by_statement(name: str, parameters: list[str], value: str, names: dict[str, Any]) -> None:
    if sys.version_info < (3, 12):
        pytest.skip("the `type` statement needs Python 3.12")
    execute(f"type {name}{'[' + ', '.join(parameters) + ']' if parameters else ''} = {value}", names)


def by_call(name: str, parameters: list[str], value: str, names: dict[str, Any]) -> None:
    variables = {each: typing.TypeVar(each) for each in parameters}
    known = {**names, **variables}
    meant = eval(value, known) if name not in re.findall(r"\w+", value) else value  # one that contains itself is given as a text
    names[name] = typing_extensions.TypeAliasType(name, meant, type_params=tuple(variables.values()))


@pytest.fixture(params=[by_statement, by_call])
def declare(request: pytest.FixtureRequest) -> Callable[..., dict[str, Any]]:
    """Takes aliases such as `Pair[A, B] = dict[A, B]`, and gives the names that an author then has."""

    def declared(*aliases: str) -> dict[str, Any]:
        # In a module of their own: a text in an alias is looked up where the alias stands.
        names = {**NAMES, "__name__": __name__}
        for alias in aliases:
            name, given, value = re.fullmatch(r"(\w+)(?:\[(.*?)\])? = (.*)", alias).groups()
            request.param(name, re.findall(r"\w+", given or ""), value, names)
        return names

    return declared


def spec(names: dict[str, Any], parameters: str, returns: str, *, body: str = "pass", decorator: str = "") -> ModelSpec:
    """The spec of a function that is annotated so."""
    scope = dict(names)
    execute(f"{decorator}\ndef written({parameters}) -> {returns}:\n    {body}", scope)
    return model(scope["written"]).__longrun__


def described(found: ModelSpec) -> Any:
    return (
        found.input.json_schema()["properties"],
        found.input.file_rules,
        found.input.has_files,
        found.output.json_schema(),
        found.output.is_text_stream,
        found.output.may_hold_files,
        found.signature.job is not None,
        found.signature.kind,
    )


@pytest.mark.parametrize(
    ("aliases", "annotation", "plain"),
    [
        (["Row = list[float]"], "Row", "list[float]"),
        (["Row = list[float]"], "list[Row]", "list[list[float]]"),
        (["Row = list[float]"], "dict[str, Row | None]", "dict[str, list[float] | None]"),
        (["Row = list[float]", "Rows = list[Row]"], "Rows | None", "list[list[float]] | None"),
        (["Short = Annotated[str, Field(max_length=3)]"], "Short", "Annotated[str, Field(max_length=3)]"),
        (["Number = float"], "Annotated[Number, Field(ge=0)]", "Annotated[float, Field(ge=0)]"),
        (["Word = typing.Literal['a', 'b']"], "tuple[Word, ...]", "tuple[typing.Literal['a', 'b'], ...]"),
        (["Vec[T] = list[T]"], "Vec[int]", "list[int]"),
        (["Vec[T] = list[T]", "Grid[T] = Vec[Vec[T]]"], "Grid[float]", "list[list[float]]"),
        (["Maybe[T] = T | None", "Id[T] = T"], "Maybe[Id[str]]", "str | None"),
        (["Turned[A, B] = dict[B, A]"], "Turned[int, str]", "dict[str, int]"),
        (["Only[A, B] = list[B]", "Const[T] = str"], "dict[Const[int], Only[int, bool]]", "dict[str, list[bool]]"),
        (["Picture = Image"], "Picture", "Image"),
        (["Picture = Annotated[Image, Limits(max_bytes=9)]"], "list[Picture] | None", "list[Annotated[Image, Limits(max_bytes=9)]] | None"),
        (["Picture = Image"], "Annotated[Picture, Limits(max_bytes=9)]", "Annotated[Image, Limits(max_bytes=9)]"),
        (["Either = File | str"], "Either", "File | str"),
    ],
)
def test_an_alias_means_what_it_stands_for(declare, aliases, annotation, plain):
    names = declare(*aliases)
    found = spec(names, f"one: {annotation}, two: {annotation}, more: list[{annotation}]", annotation)
    expected = spec(names, f"one: {plain}, two: {plain}, more: list[{plain}]", plain)
    assert described(found) == described(expected)


@pytest.mark.parametrize(
    ("aliases", "annotation", "plain"),
    [
        (["Bytes = bytes"], "dict[str, Bytes]", "dict[str, File]"),
        (["Picture = PIL.Image.Image"], "list[Picture] | None", "list[Image] | None"),
        (["Vectors = NDArray[np.float32]"], "Vectors", "list[Any]"),
        (["Of[T] = NDArray[T]"], "tuple[Of[np.float32], str]", "tuple[list[Any], str]"),
        (["Maybe[T] = T | None"], "Maybe[NDArray[np.int64]]", "list[Any] | None"),
    ],
)
def test_what_becomes_a_file_or_a_list_does_so_under_an_alias(declare, aliases, annotation, plain):
    names = declare(*aliases)
    assert spec(names, "", annotation).output.json_schema() == spec(names, "", plain).output.json_schema()


def test_numpys_own_alias_is_unwrapped():
    assert spec(NAMES, "", "NDArray[np.float32]").output.json_schema() == {"type": "array", "items": {}}
    encoded = spec(NAMES, "", "dict[str, NDArray[np.float32]]").output.encode({"a": numpy.ones(2, numpy.float32)})
    assert json.loads(encoded.data) == {"a": [1.0, 1.0]}


def test_an_array_fits_a_list_under_an_alias_and_keeps_its_form(declare):
    names = declare("Row = list[float]")
    encoded = spec(names, "", "list[Row]").output.encode(numpy.ones((2, 2)), npy_over=1)
    assert encoded.data.startswith(b"\x93NUMPY")


@pytest.mark.parametrize("annotation", ["Handle", "Handle | None", "Maybe", "Annotated[Handle, 'note']"])
def test_a_job_under_an_alias_is_the_job(declare, annotation):
    names = declare("Handle = Job", "Maybe = Job | None")
    found = spec(names, f"text: str, job: {annotation} = None", "str")
    assert found.signature.job is not None
    assert found.input.fields == ["text"]


@pytest.mark.parametrize(
    ("annotation", "body", "kind", "is_text"),
    [
        ("Iterator[Text]", "yield", "generator", True),
        ("Words", "yield", "generator", True),
        ("Stream[Text]", "yield", "generator", True),
        ("Stream[Row]", "yield", "generator", False),
        ("Stream[NDArray[np.float32]]", "yield", "generator", False),
    ],
)
def test_a_stream_under_an_alias_is_a_stream(declare, annotation, body, kind, is_text):
    names = declare("Text = str", "Row = list[float]", "Words = Iterator[str]", "Stream[T] = Iterator[T]")
    found = spec(names, "", annotation, body=body)
    assert (found.signature.kind, found.output.is_text_stream) == (kind, is_text)


def test_a_batch_under_aliases_is_a_batch(declare):
    names = declare("One = Ask", "Asks = list[Ask]", "Handles = list[Job]", "Text = str", "Texts = list[Text]", "Vec[T] = list[T]")
    for asks, returns in (("Asks", "Texts"), ("list[One]", "list[Text]"), ("Vec[One]", "Vec[str]")):
        found = spec(names, f"asks: {asks}, jobs: Handles", returns, decorator="@batched")
        assert found.signature.model is Ask
        assert found.output.json_schema() == {"type": "string"}
        assert found.signature.job is not None


def test_a_model_under_an_alias_is_the_input(declare):
    assert spec(declare("One = Ask"), "ask: One", "str").signature.model is Ask


def test_aliases_in_the_fields_of_a_model(declare):
    names = declare(
        "Picture = Annotated[Image, Limits(max_bytes=9)]",
        "Pictures = list[Picture]",
        "Either = Picture | str",
        "Row = list[float]",
        "Maybe[T] = T | None",
    )
    fields = ("a: Picture", "b: Picture", "c: Pictures", "d: Pictures", "e: Either", "f: Either", "g: Maybe[Row]", "h: Maybe[Row]")
    execute("\n  ".join(["class Taken(BaseModel):", *fields]), names)
    found = spec(names, "taken: Taken", "Taken").input
    assert {name: (rule.max_bytes, many) for name, (rule, many) in found.file_rules.items()} == {
        **dict.fromkeys("abef", (9, False)),
        **dict.fromkeys("cd", (9, True)),
    }
    value = {**dict.fromkeys("abef", ID), **{name: [ID] for name in "cd"}, "g": [1], "h": None}
    assert {place.pointer for place in found.file_places(value)} == {f"/input/{name}" for name in ("a", "b", "c/0", "d/0", "e", "f")}


def test_an_alias_that_contains_itself_is_left_to_pydantic(declare):
    names = declare("Tree = dict[str, Tree] | list[Tree] | int | None")
    found = spec(names, "one: Tree, two: list[Tree]", "Tree")
    value = {"one": {"a": [1, {"b": None}]}, "two": [1, [2]]}
    assert found.input.parse(value) == value
    assert json.loads(found.output.encode(value).data) == value
    assert unaliased(names["Tree"]) is names["Tree"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the `type` statement needs Python 3.12")
def test_an_alias_of_something_that_is_not_there_says_so():
    names = dict(NAMES)
    execute("type Lost = Nowhere", names)
    with pytest.raises(AuthoringError, match="'Nowhere' is not defined"):
        spec(names, "text: Lost", "str")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the `type` statement needs Python 3.12")
def test_an_alias_with_as_many_parameters_as_are_given():
    names = dict(NAMES)
    execute("type Row[*Ts] = tuple[*Ts]", names)
    assert unaliased(eval("Row[int, str]", names)) == tuple[int, str]
