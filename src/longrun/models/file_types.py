"""`File`, `Image` and `Audio`: what a model is given and what it returns. Plain Python; no server is needed.

Where bytes come from is up to the process: in a runner they are opened in the blob store when the model asks for them, elsewhere
they are those that the object was made of. Pillow is imported when an image is decoded or encoded, and not before.
"""

from __future__ import annotations

import base64
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Self

from longrun.errors import BadInput, InvalidOutput, needs_extra
from longrun.jobs.file_refs import FileRef, as_output
from longrun.media.rules import MAX_PIXELS, FileRule, Kind
from longrun.models.file_schema import Attached, core_schema_of, json_schema_of

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

_PIECE = 256 * 1024
#: Decoders that may be tried, by our name of the format. All others stay shut, whatever the bytes say.
_DECODERS = {"png": "PNG", "jpeg": "JPEG", "gif": "GIF", "webp": "WEBP", "bmp": "BMP", "tiff": "TIFF"}
_MODES = {"JPEG": ("L", "RGB"), "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), "WEBP": ("RGB", "RGBA")}


class File:
    """Bytes with a name and a type.

    As a parameter of `predict` it is a file that the caller sent, under the limits of its `Limits`. Returned (alone, or in lists, dicts and
    models, and also as plain `bytes`), it is stored, and the caller gets its URL.

    Args:
        content: the bytes, or a path to them. An open binary file is read when it is stored.
        name: for people, such as `report.pdf`. Of a file that was sent: what the caller called it, made safe to show; it is never a path.
        content_type: default: judged by the bytes.

    Attributes:
        ref: what the service knows of it; None: it is not stored.
    """

    kind: ClassVar[Kind] = "file"
    rule: FileRule | None = None  #: what the input's annotation allows

    def __init__(self, content: bytes | bytearray | memoryview | Path | BinaryIO, *, name: str = "", content_type: str = "") -> None:
        if isinstance(content, str):
            raise TypeError(f"{type(self).__name__}: give the bytes, or a pathlib.Path to a file; a str could be either")
        self._content: Any = content
        self.name = name or (content.name if isinstance(content, Path) else "")
        self.content_type = content_type
        self.ref: FileRef | None = None
        self._attached: Attached | None = None

    @classmethod
    def stored(cls, ref: FileRef, attached: Attached | None, rule: FileRule | None = None) -> File:
        """A file that the service has."""
        made = cls.__new__(cls)
        made._content, made._attached = None, attached
        made.ref, made.name, made.content_type, made.rule = ref, ref.name, ref.content_type, rule
        return made

    @property
    def id(self) -> str | None:
        """Its id (`file_…`); None: it is not stored."""
        return self.ref.id if self.ref else None

    @property
    def size(self) -> int | None:
        """Bytes; None: not known before they are read."""
        if self.ref is not None:
            return self.ref.size
        return len(self._content) if isinstance(self._content, bytes | bytearray | memoryview) else None

    @property
    def digest(self) -> str | None:
        """`sha-256=<base64>`; None: it is not stored."""
        return self.ref.digest if self.ref else None

    @property
    def format(self) -> str:
        """What the bytes are, such as `png`, `wav` or `pdf`; empty: not known."""
        return str(self.ref.facts.get("format", "")) if self.ref else ""

    def open(self) -> BinaryIO:
        """The bytes, as a seekable binary file. Close it, or use `with`."""
        if self.ref is not None:
            if self._attached is None:
                raise RuntimeError(f"the bytes of {self.ref.id} are only there while a model runs")
            return self._attached.open(self.ref)
        if isinstance(self._content, Path):
            return self._content.open("rb")
        if isinstance(self._content, bytes | bytearray | memoryview):
            return io.BytesIO(self._content)
        self._content.seek(0)
        return io.BytesIO(self._content.read())

    def read(self) -> bytes:
        """All bytes."""
        with self.open() as file:
            return file.read()

    def chunks(self) -> Iterator[bytes]:
        """The bytes in pieces of 256 KB."""
        with self.open() as file:
            while piece := file.read(_PIECE):
                yield piece

    def path(self) -> Path:
        """A copy on disk, for libraries that want a path; it is removed when the job ends, and may be changed."""
        suffix = f".{self.format}" if self.format else Path(self.name).suffix
        if self.ref is not None and self._attached is not None:
            return self._attached.path(self.ref, suffix)
        with tempfile.NamedTemporaryFile(suffix=suffix, delete=False) as copy, self.open() as file:
            shutil.copyfileobj(file, copy)
        return Path(copy.name)

    def data_uri(self) -> str:
        """All bytes as a `data:` URI (RFC 2397)."""
        return f"data:{self.content_type or 'application/octet-stream'};base64,{base64.b64encode(self.read()).decode()}"

    def __repr__(self) -> str:
        what = self.id or self.name or "not stored"
        return f"<{type(self).__name__} {what}{f', {self.size} bytes' if self.size is not None else ''}>"

    @property
    def source(self) -> Any:
        """What it was made of: two files of one source are stored once."""
        return self if self._content is None else self._content

    @classmethod
    def of(cls, value: Any) -> Self | None:
        """One of bytes, of a Pillow image or of another kind of file; None: it cannot be one."""
        made = as_file(value)
        if made is None or (is_pillow(value) and not issubclass(Image, cls)):
            return None
        return made if isinstance(made, cls) else cls(made.source)

    def as_json(self) -> Any:
        """As it stands in an output: what names it, its id, or all of it."""
        ref = stored_ref(self)
        return as_output(ref) if ref is not None else self.id or self.data_uri()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """See `longrun.models.file_schema`."""
        return core_schema_of(cls, FileRule(cls.kind))

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        """See `longrun.models.file_schema`."""
        return json_schema_of(cls, FileRule(cls.kind), output=handler.mode == "serialization")


class Audio(File):
    """A sound. The formats are wav, flac, mp3, ogg (also Opus), m4a and webm. It is not decoded: give `open()` or `path()` to a library."""

    kind: ClassVar[Kind] = "audio"


class Image(File):
    """A picture.

    Args:
        content: bytes, a path, an open binary file, or a Pillow image, which is encoded when it is stored.
        format: of a Pillow image: `png` (default), `jpeg` or `webp`.
        name, content_type: as of `File`.
    """

    kind: ClassVar[Kind] = "image"

    def __init__(self, content: Any, *, format: str = "png", name: str = "", content_type: str = "") -> None:
        if is_pillow(content):
            if format.upper() not in _MODES:
                raise ValueError(f"Image: the format is png, jpeg or webp, not {format!r}")
            content_type = content_type or f"image/{format.lower()}"
        super().__init__(content, name=name, content_type=content_type)
        self._format = format.upper()
        self._encoded: bytes | None = None

    @property
    def width(self) -> int | None:
        """Pixels, as the file's header says; None: not known before it is decoded."""
        return self._content.width if is_pillow(self._content) else self._fact("width")

    @property
    def height(self) -> int | None:
        """As `width`."""
        return self._content.height if is_pillow(self._content) else self._fact("height")

    def _fact(self, name: str) -> int | None:
        found = self.ref.facts.get(name) if self.ref else None
        return None if found is None else int(found)

    @property
    def format(self) -> str:
        """What the bytes are, such as `png`; empty: not known."""
        return self._format.lower() if is_pillow(self._content) else super().format

    def open(self) -> BinaryIO:
        """The bytes of the file, not decoded."""
        if not is_pillow(self._content):
            return super().open()
        if self._encoded is None:
            self._encoded = _encode(self._content, self._format)
        return io.BytesIO(self._encoded)

    def pil(self, mode: str | None = None) -> PillowImage:
        """The decoded image, upright as its EXIF orientation says; of an animation the first picture.

        Args:
            mode: convert to it, such as `RGB`; None: as it is.

        Raises:
            BadInput: the decoder refuses it. The job fails with that, and is not tried again.
        """
        if is_pillow(self._content):
            image: PillowImage = self._content
        else:
            with self.open() as file:
                image = _decode(file, self.rule, self.format)
        return image.convert(mode) if mode and image.mode != mode else image


def is_pillow(value: Any) -> bool:
    """Whether it is a Pillow image; Pillow is not imported for that."""
    return any(each.__module__ == "PIL.Image" and each.__qualname__ == "Image" for each in type(value).__mro__)


def _decode(file: BinaryIO, rule: FileRule | None, format: str) -> PillowImage:
    with needs_extra("Decoding an image"):
        from PIL import Image as Pillow
        from PIL import ImageOps

    most = (rule and rule.max_pixels) or MAX_PIXELS
    # Its own limit would refuse what the author allows.
    Pillow.MAX_IMAGE_PIXELS = max(Pillow.MAX_IMAGE_PIXELS or 0, most)
    names = [format] if format in _DECODERS else [each for each in (rule.formats if rule else ()) if each in _DECODERS] or list(_DECODERS)
    try:
        image = Pillow.open(file, formats=[_DECODERS[name] for name in names])
        if image.width * image.height > most:
            raise BadInput(f"The image has {image.width:,} × {image.height:,} pixels; at most {most:,} are allowed here.")
        image.load()
        return ImageOps.exif_transpose(image) or image
    except (BadInput, MemoryError):
        raise
    except Exception as error:
        # Decoders raise whatever they stumble over. Their words may hold addresses, so the caller gets ours.
        raise BadInput("The image cannot be decoded: it is damaged.", cause=type(error).__name__) from error


def _encode(image: PillowImage, format: str) -> bytes:
    if image.mode not in _MODES[format]:
        image = image.convert("RGBA" if "A" in image.getbands() and format != "JPEG" else "RGB")
    held = io.BytesIO()
    try:
        image.save(held, format)
    except Exception as error:
        raise InvalidOutput(f"the image could not be written as {format.lower()}", cause=type(error).__name__) from error
    return held.getvalue()


# -- storing what a model returns -----------------------------------------------------------------------------------------

Store = Callable[[File], FileRef]


class _Sink:
    """Stores each file of an output once, however often the output is looked at.

    Attributes:
        error: why a file could not be stored. Whoever writes the JSON makes something else of it, or goes on without the file.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._done: dict[int, tuple[Any, FileRef]] = {}
        self.error: BaseException | None = None

    def put(self, file: File) -> FileRef:
        if file.ref is not None:
            return file.ref
        if self.error is not None:
            raise self.error
        source = file.source
        if id(source) not in self._done:
            try:
                self._done[id(source)] = source, self._store(file)  # the source is kept, so that its number is not given to another
            except BaseException as error:
                self.error = error
                raise
        return self._done[id(source)][1]


_sink: ContextVar[_Sink | None] = ContextVar("longrun_sink", default=None)


@contextmanager
def storing(store: Store) -> Iterator[None]:
    """Inside, `File`s in values that become JSON are given to `store`, and the JSON names them. Outside they become `data:` URIs.

    Raises:
        BaseException: what `store` has raised, whatever was made of it inside.
    """
    sink = _Sink(store)
    token = _sink.set(sink)
    try:
        yield
    except BaseException as error:
        if sink.error is None or sink.error is error:
            raise
        raise sink.error from None
    finally:
        _sink.reset(token)
    if sink.error is not None:
        raise sink.error


def stored_ref(file: File) -> FileRef | None:
    """Store a file with what `storing` has set; None: nothing is set."""
    sink = _sink.get()
    return None if sink is None else sink.put(file)


def as_file(value: Any) -> File | None:
    """Bytes and Pillow images as files; a file as it is; None: it is none of these."""
    if isinstance(value, File):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return File(value)
    return Image(value) if is_pillow(value) else None
