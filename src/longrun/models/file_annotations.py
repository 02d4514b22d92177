"""What an author's annotations say of files: `Limits` of an input, and what becomes a file of an output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from pydantic_core import CoreSchema

from longrun.errors import AuthoringError
from longrun.media.rules import FileRule
from longrun.media.types import canonical, of_kind
from longrun.models.aliases import rebuilt, unaliased
from longrun.models.file_schema import core_schema_of, json_schema_of
from longrun.models.file_types import File, Image


@dataclass(frozen=True)
class Limits:
    """What is allowed of a file: `Annotated[Image, Limits(max_bytes=5_000_000, formats=("png", "jpeg"))]`.

    Args:
        max_bytes: size of the file; default 100 MB (and never more than the operator's `LONGRUN_MAX_FILE`).
        formats: what the bytes may be. Of images png, jpeg, gif, webp, bmp, tiff; of audio wav, flac, mp3, ogg, m4a, webm; of a `File` any
            extension, such as pdf or csv. Default: all of these, and of a `File` whatever comes.
        max_pixels: width × height of an image, as its header says; default 50 million.
        max_side: the longer side of an image, in pixels; default 30,000.
        max_frames: pictures in an image; default 1,000.
    """

    max_bytes: int | None = None
    formats: Sequence[str] = ()
    max_pixels: int | None = None
    max_side: int | None = None
    max_frames: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.formats, str):
            raise AuthoringError(f"Limits: formats is a list of names, such as formats=({self.formats!r},)")
        for name in ("max_bytes", "max_pixels", "max_side", "max_frames"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise AuthoringError(f"Limits: {name} is a whole number of at least 1, not {value!r}")

    def rule(self, cls: type[File]) -> FileRule:
        """As a rule for this kind of file."""
        plain = FileRule(cls.kind)
        formats = tuple(map(canonical, self.formats))
        known = of_kind(cls.kind)
        if known and (strange := sorted(set(formats).difference(known))):
            raise AuthoringError(f"Limits: {', '.join(strange)}: {cls.__name__} knows {', '.join(sorted(known))}")
        return FileRule(cls.kind, self.max_bytes or plain.max_bytes, formats, self.max_pixels, self.max_side, self.max_frames)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """The schema of the annotated file."""
        return core_schema_of(_file_class(source), self.rule(_file_class(source)))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        """The JSON Schema of the annotated file."""
        # The class stands in the core schema; the annotation is all that is given here.
        cls, rule = schema["metadata"]["longrun"]
        return json_schema_of(cls, rule, output=handler.mode == "serialization")


def _file_class(source: Any) -> type[File]:
    source = unaliased(source)
    while get_origin(source) is Annotated:
        source = get_args(source)[0]
    if isinstance(source, type) and issubclass(source, File):
        return source
    raise AuthoringError(
        f"Limits stands beside File, Image or Audio, not beside {source!r}: write `Annotated[Image, Limits(…)] | None`, "
        "or `list[Annotated[Image, Limits(…)]]`"
    )


def _is_array(annotation: Any) -> bool:
    """Whether an annotation is `numpy.ndarray`, `NDArray[…]`, `torch.Tensor` or a class derived from one."""
    origin = get_origin(annotation) or annotation
    names = {(each.__module__, each.__qualname__) for each in origin.__mro__} if isinstance(origin, type) else set()
    return not names.isdisjoint({("numpy", "ndarray"), ("torch", "Tensor")})


def with_files(annotation: Any) -> Any:
    """A return annotation in which `bytes` and Pillow images are files, and arrays and tensors lists."""
    if _is_array(annotation):
        return list[Any]
    if annotation in (bytes, bytearray, memoryview):
        return File
    if isinstance(annotation, type) and any(each.__module__ == "PIL.Image" and each.__qualname__ == "Image" for each in annotation.__mro__):
        return Image
    return rebuilt(annotation, with_files)
