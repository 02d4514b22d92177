"""File, Image and Audio as authors meet them, in plain Python."""

import base64
import io
import json
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

import PIL.Image
import pytest
from pydantic import BaseModel, Field, model_serializer

from longrun.errors import AuthoringError, BadInput, BlobsFull, ResultTooLarge, ValidationFailed
from longrun.jobs.file_refs import FileRef, as_output, holds_files, reference, referenced, with_urls
from longrun.media.rules import FileRule
from longrun.models import Audio, File, Image, Limits, Model, model
from longrun.models.file_annotations import with_files
from longrun.models.file_schema import read_data_uri
from longrun.models.file_types import storing
from longrun.models.schema import OutputSchema

ID, OTHER = f"file_{'a' * 32}", f"file_{'b' * 32}"


def png(width: int = 3, height: int = 2, **options: Any) -> bytes:
    held = io.BytesIO()
    PIL.Image.new("RGB", (width, height), "red").save(held, "PNG", **options)
    return held.getvalue()


class Held:
    """Attached files, in memory."""

    def __init__(self, **content: bytes) -> None:
        self.content = content

    def open(self, ref: FileRef) -> io.BytesIO:
        return io.BytesIO(self.content[ref.id])

    def path(self, ref: FileRef, suffix: str) -> Path:
        return Path(f"/copies/{ref.id}{suffix}")


class Ask(BaseModel):
    image: Annotated[Image, Limits(max_bytes=10_000, formats=("png", "jpg")), Field(description="What to look at.")]
    more: list[Image] = []
    mask: Image | None = None
    sound: Audio | File | None = None
    tokens: Annotated[int, Field(ge=1)] = 30


class LookAt(Model):
    def predict(self, ask: Ask) -> str:
        return f"{ask.image.width}"


def places(data: dict[str, Any]) -> dict[str, tuple[str, int]]:
    return {each.pointer: (each.source, len(each.rules)) for each in LookAt.__longrun__.input.file_places(data)}


def test_files_are_found_wherever_they_stand_before_they_are_there():
    data = {"image": "data:,x", "more": [ID, "https://example.com/a.png"], "mask": OTHER}
    assert places(data) == {
        "/input/image": ("data:,x", 1),
        "/input/more/0": (ID, 1),
        "/input/more/1": ("https://example.com/a.png", 1),
        "/input/mask": (OTHER, 1),
    }


def test_a_file_of_a_union_has_the_rules_of_each_member():
    assert places({"image": ID, "sound": OTHER})["/input/sound"] == (OTHER, 2)


class Read(BaseModel):
    either: File | str | int
    several: list[str | Image] = []
    named: dict[str, int | str | File | None] = {}


class ReadIt(Model):
    def predict(self, ask: Read) -> str: ...


def test_a_file_beside_a_text_is_a_file_and_all_other_texts_are_texts():
    schema = ReadIt.__longrun__.input
    data = {"either": ID, "several": ["data:image/png;base64,aGk=", "a cat"], "named": {"a": OTHER, "b": "5", "c": 5, "d": None}}
    found = {each.pointer: (each.source, len(each.rules)) for each in schema.file_places(data)}
    assert found == {"/input/either": (ID, 1), "/input/several/0": ("data:image/png;base64,aGk=", 1), "/input/named/a": (OTHER, 1)}
    files = {each: FileRef(each, each, 1, "sha-256=x") for each in (ID, OTHER)}
    ask = schema.parse(data | {"several": [OTHER, "a cat"]}, files=files)
    assert (ask.either.id, ask.several[0].id, ask.several[1]) == (ID, OTHER, "a cat")
    assert (ask.named["a"].id, ask.named["b"], ask.named["c"], ask.named["d"]) == (OTHER, "5", 5, None)
    for text in ("https://example.com", "data: none", "file_123", ""):
        assert schema.file_places({"either": text}) == []
        assert schema.parse({"either": text}, files={}).either == text


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        ({"image": 3}, "/input/image"),
        ({"image": "cat.jpg"}, "/input/image"),
        ({"image": "file:///etc/passwd"}, "/input/image"),
        ({"image": "file_123"}, "/input/image"),
        ({"image": ID, "more": [ID, None]}, "/input/more/1"),
        ({"image": ID, "tokens": 0}, "/input/tokens"),
        ({"image": ID, "unknown": 1}, "/input/unknown"),
        ({}, "/input/image"),
    ],
)
def test_what_else_is_wrong_is_said_before_anything_is_stored(data, pointer):
    with pytest.raises(ValidationFailed) as caught:
        LookAt.__longrun__.input.file_places(data)
    assert [each["pointer"] for each in caught.value.errors or ()] == [pointer]


def test_the_value_holds_files_that_know_their_size_and_open_themselves():
    ref = FileRef(ID, ID, 68, "sha-256=x", "image/png", "cat.png", {"format": "png", "width": 3, "height": 2})
    ask = LookAt.__longrun__.input.parse({"image": ID}, files={ID: ref}, attached=Held(**{ID: png()}))
    image = ask.image
    assert (image.id, image.size, image.width, image.height, image.name, image.format) == (ID, 68, 3, 2, "cat.png", "png")
    assert image.read() == png()
    assert image.pil().size == (3, 2)
    assert image.pil("L").mode == "L"
    assert image.path() == Path(f"/copies/{ID}.png")
    assert image.rule == FileRule("image", 10_000, ("png", "jpeg"))
    assert LookAt().predict(ask) == "3"


def test_a_file_that_is_not_known_is_not_taken():
    with pytest.raises(ValidationFailed) as caught:
        LookAt.__longrun__.input.parse({"image": ID}, files={})
    assert caught.value.errors == [{"pointer": "/input/image", "detail": "There is no such file"}]


def test_the_schema_says_what_is_allowed_and_which_fields_are_files():
    schema = LookAt.__longrun__.input.json_schema()["properties"]["image"]
    assert schema["x-longrun-file"] == {"kind": "image", "max_bytes": 10_000, "formats": ["png", "jpeg"]}
    assert schema["description"] == "What to look at."
    rules = LookAt.__longrun__.input.file_rules
    assert {name: many for name, (_, many) in rules.items()} == {"image": False, "more": True, "mask": False, "sound": False}
    assert rules["image"][0] == FileRule("image", 10_000, ("png", "jpeg"))


def test_a_model_without_files_has_none():
    @model
    def plain(text: str) -> str:
        return text

    assert not plain.__longrun__.input.has_files
    assert plain.__longrun__.input.file_rules == {}


def test_plain_python_takes_bytes_paths_and_pillow_images(tmp_path):
    (tmp_path / "cat.png").write_bytes(png())
    assert Ask(image=Image(tmp_path / "cat.png")).image.name == "cat.png"
    assert Ask(image=png()).image.pil().size == (3, 2)
    assert Ask(image=PIL.Image.new("RGB", (5, 4))).image.width == 5
    assert Ask(image=f"data:image/png;base64,{base64.b64encode(png()).decode()}").image.pil().size == (3, 2)


def test_an_open_file_is_read_from_its_start(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    with (tmp_path / "a").open("rb") as file:
        file.read(2)
        assert File(file).read() == b"abc"
        assert b"".join(File(file).chunks()) == b"abc"


def test_a_str_is_neither_bytes_nor_a_path():
    with pytest.raises(TypeError, match=r"pathlib\.Path"):
        File("cat.jpg")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda: Limits(formats="png"), "list of names"),
        (lambda: Limits(max_bytes=0), "at least 1"),
        (lambda: Limits(max_pixels=1.5), "whole number"),
        (lambda: Limits(formats=("svg",)).rule(Image), "svg: Image knows bmp"),
        (lambda: Limits(formats=("png",)).rule(Audio), "Audio knows"),
    ],
)
def test_limits_that_make_no_sense_are_refused_when_they_are_written(write, said):
    with pytest.raises(AuthoringError, match=said):
        write()


def test_limits_of_a_list_belong_to_its_items():
    with pytest.raises(AuthoringError, match=r"list\[Annotated\[Image"):

        class Many(Model):
            def predict(self, images: Annotated[list[Image], Limits(max_bytes=1)]) -> str: ...


def test_the_decoder_has_the_last_word():
    broken = png(300, 300)[:100]
    with pytest.raises(BadInput, match="damaged") as caught:
        Image(broken).pil()
    assert caught.value.code == "validation-failed"


def test_a_format_that_is_not_allowed_is_not_decoded():
    held = io.BytesIO()
    PIL.Image.new("RGB", (1, 1)).save(held, "PPM")
    with pytest.raises(BadInput):
        Image(held.getvalue()).pil()


def test_more_pixels_than_allowed_are_not_decoded():
    image = Image(png(200, 200))
    image.rule = FileRule("image", max_pixels=1000)
    with pytest.raises(BadInput, match="200 × 200 pixels; at most 1,000"):
        image.pil()


def test_an_image_stands_upright():
    held, exif = io.BytesIO(), PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.new("RGB", (30, 20)).save(held, "JPEG", exif=exif)
    assert Image(held.getvalue()).pil().size == (20, 30)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "F", "I"])
@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_a_pillow_image_of_any_mode_becomes_bytes(mode, format):
    image = Image(PIL.Image.new(mode, (4, 3)), format=format)
    with PIL.Image.open(io.BytesIO(image.read())) as found:
        assert (found.size, found.format) == ((4, 3), format.upper())


class Kept:
    """A store that remembers."""

    def __init__(self) -> None:
        self.files: list[bytes] = []

    def __call__(self, file: File) -> FileRef:
        self.files.append(file.read())
        return FileRef(f"file_{len(self.files):032x}", "k", len(self.files[-1]), "sha-256=x", "image/png", file.name)


@pytest.mark.parametrize(
    ("annotation", "value", "count"),
    [
        (bytes, b"abc", 1),
        (list[bytes], [b"a", b"b"], 2),
        (PIL.Image.Image, PIL.Image.new("RGB", (2, 2)), 1),
        (Image, PIL.Image.new("RGB", (2, 2)), 1),
        (Image, png(), 1),
        (File, File(b"x", name="x.txt"), 1),
        (dict[str, Any], {"a": PIL.Image.new("L", (1, 1)), "b": [b"c"], "c": File(b"d"), "n": None}, 3),
        (Any, b"raw", 1),
        (bytes | None, b"abc", 1),
    ],
)
def test_files_in_outputs_are_stored_once_and_named(annotation, value, count):
    kept = Kept()
    with storing(kept):
        data = OutputSchema(annotation).encode(value).data
    assert len(kept.files) == count
    assert data.count(b'"url":"longrun-file:file_') == count


def test_a_file_that_is_looked_at_twice_is_stored_once():
    # A NaN makes the encoder look again.
    kept, same = Kept(), b"abc"
    with storing(kept):
        OutputSchema(dict[str, Any]).encode({"a": same, "b": same, "n": float("nan")})
    assert kept.files == [b"abc"]


class Away(BaseException):
    pass


@pytest.mark.parametrize("error", [BlobsFull("full"), ResultTooLarge(), Away(), ValueError("a defect")])
@pytest.mark.parametrize(
    ("annotation", "value"),
    [(File, File(b"x")), (list[bytes], [b"x", b"y"]), (File | str | None, File(b"x")), (dict[str, Any], {"n": float("nan"), "f": b"x"})],
)
def test_what_keeps_a_file_from_being_stored_is_told_as_it_is_and_it_is_tried_once(annotation, value, error):
    tried = []

    def refuse(file):
        tried.append(file)
        raise error

    with pytest.raises(type(error)) as found, storing(refuse):
        OutputSchema(annotation).encode(value)
    assert found.value is error
    assert len(tried) == 1


def test_a_file_that_could_not_be_stored_is_told_also_when_the_author_has_swallowed_it():
    class Careless(BaseModel):
        picture: File

        @model_serializer(mode="wrap")
        def write(self, handler):
            try:
                return handler(self)
            except Exception:
                return {"picture": None}

    def refuse(file):
        raise BlobsFull("full")

    with pytest.raises(BlobsFull), storing(refuse):
        OutputSchema(Careless).encode(Careless(picture=File(b"x")))


def test_a_file_of_the_input_is_named_and_not_stored_again():
    kept, ref = Kept(), FileRef(ID, ID, 1, "sha-256=x")
    with storing(kept):
        data = OutputSchema(File).encode(File.stored(ref, None)).data
    assert json.loads(data)["id"] == ID
    assert kept.files == []


def test_members_of_models_are_stored_too():
    class Drawn(BaseModel):
        picture: Image
        note: str = ""

    kept = Kept()
    with storing(kept):
        data = OutputSchema(Drawn).encode(Drawn(picture=PIL.Image.new("RGB", (2, 2)))).data
    assert len(kept.files) == 1
    assert json.loads(data)["picture"]["size"] == len(kept.files[0])
    assert OutputSchema(Drawn).json_schema()["properties"]["picture"]["required"] == ["id", "url", "content_type", "size", "digest"]


def test_return_annotations_of_bytes_and_pillow_are_files():
    assert with_files(dict[str, list[bytes]]) == dict[str, list[File]]
    assert with_files(PIL.Image.Image | None) == (Image | None)
    assert with_files(int | None) == (int | None)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("data:text/plain;base64,YWJj", (b"abc", "text/plain")),
        ("data:text/plain;charset=utf-8;base64,YWJj", (b"abc", "text/plain")),
        ("data:,a%20b", (b"a b", "")),
        ("DATA:image/PNG;BASE64,YWJj", (b"abc", "image/png")),
        ("data:;base64,YWJ", None),
        ("data:;base64,****", None),
        ("data:nothing", None),
        ("https://example.com", None),
    ],
)
def test_data_uris(text, found):
    assert read_data_uri(text) == found


@pytest.mark.parametrize("before", range(4))
def test_a_long_data_uri_is_decoded_as_a_short_one_wherever_it_is_cut(before):
    text = "x" * before + "%41%4%%42é" * 20_000
    assert read_data_uri(f"data:,{text}") == (unquote_to_bytes(text), "")
    assert read_data_uri("data:" + ";a=b" * 300 + ",x") is None


def test_placeholders_become_urls_and_nothing_else_does():
    shown = json.dumps(as_output(FileRef(ID, "k", 1, "d")), separators=(",", ":")).encode()
    assert holds_files(shown)
    assert json.loads(with_urls(shown, lambda file_id: f"/files/{file_id}"))["url"] == f"/files/{ID}"
    text = b'{"a":"longrun-file:file_short","b":"see longrun-file:' + ID.encode() + b'"}'
    assert with_urls(text, lambda _: "never") == text


def test_a_reference_is_never_taken_for_json():
    ref = FileRef(ID, "job/1/file", 70_000, "sha-256=x", "application/json", "output.json")
    assert referenced(reference(ref)) == ref
    assert all(referenced(json.dumps(value).encode()) is None for value in ("@x", {"@": 1}, [], None, 1))
