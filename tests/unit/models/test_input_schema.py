import dataclasses
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator, model_validator
from typing_extensions import TypedDict

from longrun.errors import ValidationFailed
from longrun.models import model
from longrun.models.schema import InputSchema
from longrun.models.signature import NO_DEFAULT, Parameter


def of(annotation: Any, default: Any = NO_DEFAULT) -> InputSchema:
    """The schema of `predict(x: annotation = default)`."""
    return InputSchema("Input", parameters=[Parameter("x", annotation, default)])


def found(schema: InputSchema, data: Any) -> list[tuple[str, str]]:
    """Pointers and details with which `data` is refused."""
    with pytest.raises(ValidationFailed) as caught:
        schema.parse(data)
    assert caught.value.errors
    return [(each["pointer"], each["detail"]) for each in caught.value.errors]


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Size(BaseModel):
    width: int
    height: int = 1


class Ask(BaseModel):
    """A question."""

    text: Annotated[str, Field(min_length=1)]
    size: Size | None = None


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Options(TypedDict, total=False):
    fast: bool


class Node(BaseModel):
    name: str
    children: list["Node"] = []


def test_parameters_become_fields_with_defaults_and_limits():
    @model
    def draw(prompt: str, steps: Annotated[int, Field(ge=1, le=50, description="more is slower")] = 20) -> str: ...

    schema = draw.__longrun__.input
    assert schema.parse({"prompt": "a cat"}) == {"prompt": "a cat", "steps": 20}
    assert schema.parse({"prompt": "a cat", "steps": 50}) == {"prompt": "a cat", "steps": 50}
    assert found(schema, {"prompt": "a cat", "steps": 51}) == [("/input/steps", "Input should be less than or equal to 50")]
    assert schema.json_schema() == {
        "title": "DrawInput",
        "type": "object",
        "additionalProperties": False,
        "required": ["prompt"],
        "properties": {
            "prompt": {"title": "Prompt", "type": "string"},
            "steps": {"title": "Steps", "type": "integer", "default": 20, "minimum": 1, "maximum": 50, "description": "more is slower"},
        },
    }


def test_a_single_base_model_gives_its_own_fields():
    @model
    def answer(ask: Annotated[Ask, Field(description="ignored")]) -> str: ...

    schema = answer.__longrun__.input
    assert schema.parse({"text": "why"}) == Ask(text="why")
    assert schema.fields == ["text", "size"]
    described = schema.json_schema()
    assert (described["title"], described["description"], described["additionalProperties"]) == ("Ask", "A question.", False)
    assert described["$defs"]["Size"]["additionalProperties"] is False


def test_two_base_models_are_two_fields():
    @model
    def compare(left: Size, right: Size) -> str: ...

    assert compare.__longrun__.input.parse({"left": {"width": 1}, "right": {"width": 2}}) == {"left": Size(width=1), "right": Size(width=2)}


def test_a_root_model_is_a_field_as_it_has_none():
    class Words(RootModel[list[str]]):
        pass

    @model
    def join(words: Words) -> str: ...

    assert join.__longrun__.input.parse({"words": ["a"]}) == {"words": Words(["a"])}


def test_no_parameters_take_an_empty_object():
    @model
    def now() -> str: ...

    schema = now.__longrun__.input
    assert schema.parse({}) == {}
    assert found(schema, {"x": 1}) == [("/input/x", "There is no such field")]
    assert schema.json_schema() == {"title": "NowInput", "type": "object", "additionalProperties": False, "properties": {}}


@pytest.mark.parametrize(
    ("annotation", "given", "parsed"),
    [
        (datetime, "2026-01-31T09:30:00Z", datetime(2026, 1, 31, 9, 30, tzinfo=UTC)),
        (date, "2026-01-31", date(2026, 1, 31)),
        (timedelta, "PT1M", timedelta(minutes=1)),
        (UUID, "12345678-1234-5678-1234-567812345678", UUID("12345678-1234-5678-1234-567812345678")),
        (Decimal, "1.10", Decimal("1.10")),
        (Decimal, 1.1, Decimal("1.1")),
        (Color, "red", Color.RED),
        (Literal["a", "b"], "b", "b"),
        (int | None, None, None),
        (int | str, "7", "7"),
        (int | list[int], [1], [1]),
        (float, 3, 3.0),
        (int, 10**30, 10**30),
        (tuple[int, str], [1, "a"], (1, "a")),
        (set[int], [1, 1, 2], {1, 2}),
        (dict[str, Size], {"a": {"width": 1}}, {"a": Size(width=1)}),
        (dict[int, str], {"1": "a"}, {1: "a"}),
        (list[Size], [{"width": 1}], [Size(width=1)]),
        (Point, {"x": 1}, Point(1, 0)),
        (Options, {"fast": True}, {"fast": True}),
        (Node, {"name": "a", "children": [{"name": "b"}]}, Node(name="a", children=[Node(name="b")])),
        (Annotated[datetime, Field(strict=True)], "2026-01-31T09:30:00Z", datetime(2026, 1, 31, 9, 30, tzinfo=UTC)),
        (str, "\x00", "\x00"),
        (Any, {"any": [None, 1.5, True]}, {"any": [None, 1.5, True]}),
    ],
)
def test_values_become_what_the_annotation_says(annotation, given, parsed):
    value = of(annotation).parse({"x": given})["x"]
    assert value == parsed
    assert type(value) is type(parsed)


@pytest.mark.parametrize(
    ("annotation", "data"),
    [
        (Size, {"x": {"width": 1, "heigth": 2}}),
        (list[Size], {"x": [{"width": 1, "heigth": 2}]}),
        (Point, {"x": {"x": 1, "heigth": 2}}),
        (Options, {"x": {"heigth": True}}),
        (Node, {"x": {"name": "a", "children": [{"name": "b", "heigth": 1}]}}),
        (Size | None, {"x": {"width": 1, "heigth": 2}}),
    ],
)
def test_unknown_fields_are_refused_at_every_level(annotation, data):
    pointers = [pointer for pointer, detail in found(of(annotation), data) if detail == "There is no such field"]
    assert len(pointers) == 1
    assert pointers[0].endswith("/heigth")


def test_a_class_that_sets_extra_itself_is_respected():
    class Loose(BaseModel):
        model_config = ConfigDict(extra="allow")
        inner: Size | None = None

    class Lossy(BaseModel):
        model_config = ConfigDict(extra="ignore")

    class LooseDict(TypedDict):
        __pydantic_config__ = ConfigDict(extra="allow")

    class LossyDict(TypedDict):
        __pydantic_config__ = ConfigDict(extra="ignore")

    loose = InputSchema("Loose", model=Loose)
    assert loose.parse({"a": 1}).a == 1
    assert loose.json_schema()["additionalProperties"] is True
    assert found(loose, {"a": 1, "inner": {"width": 1, "a": 1}}) == [("/input/inner/a", "There is no such field")]
    assert of(Lossy).parse({"x": {"a": 1}}) == {"x": Lossy()}
    assert "additionalProperties" not in of(Lossy).json_schema()["$defs"]["Lossy"]
    assert of(LooseDict).parse({"x": {"a": 1}}) == {"x": {"a": 1}}
    assert of(LossyDict).parse({"x": {"a": 1}}) == {"x": {}}
    assert of(RootModel[dict[str, int]]).parse({"x": {"a": 1}}) == {"x": RootModel[dict[str, int]]({"a": 1})}


def test_the_author_s_own_classes_are_left_as_they_are():
    of(Size).parse({"x": {"width": 1}})
    assert Size.model_validate({"width": 1, "other": 2}) == Size(width=1)
    assert "additionalProperties" not in Size.model_json_schema()


def test_a_model_that_contains_itself_has_a_schema_and_fields():
    schema = InputSchema("Node", model=Node)
    assert schema.fields == ["name", "children"]
    assert schema.json_schema()["$defs"]["Node"]["additionalProperties"] is False
    assert schema.parse({"name": "a"}) == Node(name="a")


def test_a_model_whose_building_was_put_off_works():
    class Late(BaseModel):
        model_config = ConfigDict(defer_build=True)
        text: str

    schema = InputSchema("Late", model=Late)
    assert schema.parse({"text": "a"}) == Late(text="a")
    assert found(schema, {"text": "a", "b": 1}) == [("/input/b", "There is no such field")]


@pytest.mark.parametrize("name", ["copy", "json", "schema", "model_config", "_hidden", "self", "class_", "p0", "p1"])
def test_any_parameter_name_works(name):
    schema = InputSchema("Input", parameters=[Parameter("first", int, 0), Parameter(name, int, NO_DEFAULT)])
    assert schema.parse({name: 3}) == {"first": 0, name: 3}
    assert found(schema, {name: "x"})[0][0] == f"/input/{name}"


def test_an_alias_names_the_field():
    @model
    def search(from_: Annotated[int, Field(alias="from")] = 0) -> str: ...

    assert search.__longrun__.input.parse({"from": 3}) == {"from_": 3}
    assert search.__longrun__.input.fields == ["from"]


def test_a_mutable_default_is_fresh_for_each_job():
    schema = of(list[int], [1])
    schema.parse({})["x"].append(2)
    assert schema.parse({}) == {"x": [1]}


def test_a_default_that_json_cannot_hold_is_left_out_of_the_schema():
    schema = of(Any, object())
    assert "default" not in schema.json_schema()["properties"]["x"]
    assert type(schema.parse({})["x"]) is object


def test_the_json_schema_is_yours_to_change():
    schema = of(int)
    schema.json_schema()["properties"].clear()
    assert schema.fields == ["x"]


@pytest.mark.parametrize("data", [None, 3, "text", [], True, 1.5])
def test_an_input_that_is_no_object_is_a_finding(data):
    ((pointer, detail),) = found(of(int), data)
    assert pointer == "/input"
    assert detail.startswith("The input is a JSON object")


def test_findings_point_into_lists_and_escape_names():
    schema = of(dict[str, list[Size]])
    assert found(schema, {"x": {"a/b~c": [{"width": 1}, {"width": "w", "height": None}]}}) == [
        ("/input/x/a~1b~0c/1/width", "Input should be a valid integer, unable to parse string as an integer"),
        ("/input/x/a~1b~0c/1/height", "Input should be a valid integer"),
    ]


def test_findings_of_a_union_point_to_the_value_not_to_the_member():
    pointers = [pointer for pointer, _ in found(of(int | list[int] | Size), {"x": {"width": "w"}})]
    assert set(pointers) == {"/input/x", "/input/x/width"}


def test_a_missing_field_is_pointed_to_where_it_should_be():
    assert found(of(Size), {"x": {}}) == [("/input/x/width", "Field required")]


def test_a_wrong_key_points_to_the_key_s_value():
    assert found(of(dict[int, str]), {"x": {"a": "b"}})[0][0] == "/input/x/a"


def test_findings_are_limited_in_number_and_length():
    schema = of(list[int])
    assert len(found(schema, {"x": ["a"] * 1000})) == 50
    ((pointer, detail),) = found(schema, {"x": ["a"] * 100_000})
    assert pointer == "/input"
    assert detail.startswith("100000 values")
    assert len(found(schema, {"x": [], "y" * 10_000: 1})[0][0]) < 400


def test_a_huge_value_is_never_echoed():
    with pytest.raises(ValidationFailed) as caught:
        of(Literal["a"]).parse({"x": "secret" * 100_000})
    assert "secret" not in json.dumps(caught.value.errors) + caught.value.detail


def test_a_validator_s_own_words_reach_the_caller():
    class Even(BaseModel):
        number: int

        @field_validator("number")
        @classmethod
        def check(cls, value: int) -> int:
            if value % 2:
                raise ValueError("the number must be even")
            return value

        @model_validator(mode="after")
        def check_all(self) -> "Even":
            if self.number == 4:
                raise ValueError("not 4, please " + "x" * 1000)
            return self

    schema = InputSchema("Even", model=Even)
    assert found(schema, {"number": 3}) == [("/input/number", "the number must be even")]
    ((pointer, detail),) = found(schema, {"number": 4})
    assert (pointer, len(detail)) == ("/input", 300)


@pytest.mark.parametrize("error", [RuntimeError("secret"), KeyError("secret"), RecursionError(), TypeError("secret")])
def test_a_validator_that_breaks_is_a_finding_and_not_a_500(error):
    class Broken(BaseModel):
        number: int

        @field_validator("number")
        @classmethod
        def check(cls, value: int) -> int:
            raise error

    with pytest.raises(ValidationFailed) as caught:
        InputSchema("Broken", model=Broken).parse({"number": 3})
    assert caught.value.errors == [{"pointer": "/input", "detail": "The model's own checks could not handle this input"}]
    assert caught.value.__cause__ is error


def test_no_value_makes_parsing_fail_in_another_way():
    for value in ["\ud800", {"\ud800": 1}, float("nan"), "x" * 100_000, [[[[]]]], 10**5000, b"bytes", object()]:
        for annotation in (str, int, dict[str, int], Size):
            with pytest.raises(ValidationFailed):
                of(annotation).parse({"x": [value]})


def test_deep_nesting_is_no_error_of_another_kind():
    deep: Any = []
    for _ in range(3000):
        deep = [deep]
    with pytest.raises(ValidationFailed):
        of(Any).parse({"x": deep})
