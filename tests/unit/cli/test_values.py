"""`key=value` words become an input, and a schema becomes an example."""

from __future__ import annotations

import shlex
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from longrun.cli.values import accepted_types, command_line, curl_words, example_input, parse_assignments, read_json
from longrun.models import isolated_registry, model


class Colour(Enum):
    RED = "red"


class Inner(BaseModel):
    x: Annotated[int, Field(ge=3)]
    label: str


class Tree(BaseModel):
    name: str
    children: list[Tree] = []


with isolated_registry():

    @model
    def everything(
        *,
        text: str,
        count: Annotated[int, Field(gt=0, le=200)],
        share: Annotated[float, Field(gt=0, lt=1)],
        flag: bool,
        tags: Annotated[list[str], Field(min_length=2)],
        inner: Inner,
        mode: Literal["fast", "slow"],
        level: Literal[1, 2],
        colour: Colour,
        when: datetime,
        who: UUID,
        maybe: str | None,
        number_or_nothing: int | None,
        either: int | str,
        anything: Any,
        tree: Tree,
        short: Annotated[str, Field(max_length=3)],
        long: Annotated[str, Field(min_length=30)],
        below: Annotated[int, Field(le=-5)],
        even: Annotated[int, Field(multiple_of=4)],
        sized: Annotated[str, Field(examples=["like this"])],
    ) -> str:
        return text

    @model
    def optional(first: int = 3, second: str = "x") -> str:
        return second

    @model
    def empty() -> str:
        return ""


INPUT = everything.__longrun__.input  # type: ignore[attr-defined]
SCHEMA = INPUT.json_schema()


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("text=hello world", "hello world"),
        ("text=", ""),
        ("text=30", "30"),
        ("text=null", "null"),
        ("text=a=b", "a=b"),
        ("text=@@home", "@home"),
        ("count=30", 30),
        ("share=0.5", 0.5),
        ("flag=true", True),
        ('tags=["a", "b"]', ["a", "b"]),
        ('inner={"x": 3, "label": "y"}', {"x": 3, "label": "y"}),
        ("mode=fast", "fast"),
        ("level=2", 2),
        ("colour=red", "red"),
        ("when=2026-01-31T09:30:00Z", "2026-01-31T09:30:00Z"),
        ("maybe=5", "5"),
        ("number_or_nothing=5", 5),
        ("number_or_nothing=null", None),
        ("either=5", "5"),
        ("anything=5", 5),
        ("anything=five", "five"),
        ("anything=NaN", "NaN"),
        ("unknown_field=[1]", [1]),
    ],
)
def test_a_value_is_read_as_its_field_needs_it(word: str, value: Any) -> None:
    assert parse_assignments([word], SCHEMA) == {word.partition("=")[0]: value}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["hello"], "not key=value"),
        (["=hello"], "not key=value"),
        (["count=many"], "count=many: not JSON; the field takes integer"),
        (["share=NaN"], "not JSON"),
        (["number_or_nothing=x"], "integer or null"),
        (["text=a", "text=b"], "given twice"),
        (["text=@no-such-file"], "no-such-file cannot be read"),
        (["tags=" + "[" * 100_000], "not JSON"),
    ],
)
def test_a_wrong_word_is_refused_with_its_reason(words: list[str], told: str) -> None:
    with pytest.raises(ValueError, match="^.*" + told):
        parse_assignments(words, SCHEMA)


def test_a_value_can_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "story.txt").write_text("once\nupon", encoding="utf-8")
    (tmp_path / "tags.json").write_text('["a", "b"]')

    assert parse_assignments([f"text=@{tmp_path}/story.txt", f"tags=@{tmp_path}/tags.json"], SCHEMA) == {
        "text": "once\nupon",
        "tags": ["a", "b"],
    }


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ValueError, match="not a UTF-8 text"):
        parse_assignments([f"text=@{tmp_path}/picture"], SCHEMA)


def test_json_is_read_strictly() -> None:
    assert read_json("[1, 2.5, null]") == [1, 2.5, None]
    for text in ("NaN", "-Infinity", "[Infinity]", "{", ""):
        with pytest.raises(ValueError):
            read_json(text)


def test_the_example_of_a_schema_is_accepted_by_the_model() -> None:
    example = example_input(SCHEMA)

    assert set(example) == set(SCHEMA["required"])
    INPUT.parse(example)
    assert example["sized"] == "like this"


def test_the_example_shows_what_is_required_or_else_the_first_field() -> None:
    assert example_input(optional.__longrun__.input.json_schema()) == {"first": 3}  # type: ignore[attr-defined]
    assert example_input(empty.__longrun__.input.json_schema()) == {}  # type: ignore[attr-defined]


def test_the_authors_own_example_of_the_whole_input_wins() -> None:
    assert example_input({"properties": {"text": {"type": "string"}}, "examples": [{"text": "mine"}]}) == {"text": "mine"}


def test_a_schema_that_refers_to_itself_ends() -> None:
    endless = {"$defs": {"Node": {"$ref": "#/$defs/Node"}}, "properties": {"node": {"$ref": "#/$defs/Node"}}, "required": ["node"]}

    assert example_input(endless) == {"node": None}
    assert accepted_types({"$ref": "#/$defs/Node"}, endless) is None


def test_a_printed_command_gives_back_the_same_input() -> None:
    fields = {"text": "it's @ home", "at": "@home", "count": 3, "tags": ["a b"], "flag": True}
    schema = {"properties": {"text": {"type": "string"}, "at": {"type": "string"}, "count": {"type": "integer"}}}

    words = shlex.split(command_line("shout", fields, "--url", "http://127.0.0.1:9000"))

    assert words[:3] == ["longrun", "run", "shout"]
    assert words[-2:] == ["--url", "http://127.0.0.1:9000"]
    assert parse_assignments(words[3:-2], schema) == fields


PICTURE = {"type": "string", "x-longrun-file": {"kind": "image"}}
FORM = {
    "properties": {
        "image": {"$ref": "#/$defs/Picture"},
        "maybe": {"anyOf": [PICTURE, {"type": "null"}]},
        "pages": {"type": "array", "items": PICTURE},
        "more": {"anyOf": [{"type": "array", "items": PICTURE}, {"type": "null"}]},
        "text": {"type": "string"},
    },
    "$defs": {"Picture": PICTURE},
    "required": ["image", "pages"],
}
DEEP = {"properties": {"pages": {"type": "array", "items": {"type": "object", "properties": {"scan": PICTURE}, "required": ["scan"]}}}}


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    path = tmp_path / "cat.jpg"
    path.write_bytes(b"\xff\xd8\xff")
    return path


def test_a_field_that_is_a_file_takes_a_path_which_is_not_read_yet(cat: Path) -> None:
    assert parse_assignments([f"image=@{cat}", f"maybe=@{cat}"], FORM) == {"image": cat, "maybe": cat}
    assert parse_assignments(["image=file_1", "maybe=https://example.com/x"], FORM) == {"image": "file_1", "maybe": "https://example.com/x"}


def test_a_list_of_files_is_given_word_by_word_or_as_json(cat: Path) -> None:
    assert parse_assignments([f"pages=@{cat}", "pages=file_1", f"more=@{cat}"], FORM) == {"pages": [cat, "file_1"], "more": [cat]}
    assert parse_assignments(['pages=["file_1"]'], FORM) == {"pages": ["file_1"]}


@pytest.mark.parametrize("words", [["image=@nowhere.jpg"], ["image=@."], ["image=file_1", "image=file_2"]])
def test_a_file_that_is_none_is_an_error_before_anything_is_sent(words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"not there|a folder|given twice"):
        parse_assignments(words, FORM)


def test_a_text_is_still_read_from_its_file(cat: Path) -> None:
    with pytest.raises(ValueError, match="not a UTF-8 text"):
        parse_assignments([f"text=@{cat}"], FORM)


def test_the_example_of_a_model_with_files_says_where_they_go() -> None:
    assert command_line("read", example_input(FORM)) == "longrun run read image=@picture.jpg pages=@picture.jpg"
    assert curl_words(example_input(FORM)) == "-F image=@picture.jpg -F pages=@picture.jpg"
    assert curl_words(example_input(DEEP)) == """-H 'Content-Type: application/json' -d '{"input": {"pages": [{"scan": "file_ID"}]}}'"""
