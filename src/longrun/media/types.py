"""Formats that we know by their bytes: what they are called, how they are served, how names of such files end."""

from __future__ import annotations

from dataclasses import dataclass

#: What may run in a browser, or is not known, is served as bytes and nothing else.
BYTES = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Format:
    """A format that is known by its bytes.

    Args:
        name: as in `Facts.format`.
        shown: as people write it.
        media_type: what such a file is served as.
        extensions: how its names end.
        kind: `image` or `audio` when inputs of that kind take it.
    """

    name: str
    shown: str
    media_type: str
    extensions: tuple[str, ...]
    kind: str = ""


_FORMATS = (
    Format("png", "PNG", "image/png", ("png", "apng"), "image"),
    Format("jpeg", "JPEG", "image/jpeg", ("jpg", "jpeg", "jpe", "jfif"), "image"),
    Format("gif", "GIF", "image/gif", ("gif",), "image"),
    Format("webp", "WebP", "image/webp", ("webp",), "image"),
    Format("bmp", "BMP", "image/bmp", ("bmp", "dib"), "image"),
    Format("tiff", "TIFF", "image/tiff", ("tif", "tiff"), "image"),
    Format("heic", "HEIC", "image/heic", ("heic", "heif")),
    Format("avif", "AVIF", "image/avif", ("avif",)),
    Format("ico", "ICO", BYTES, ("ico", "cur")),
    Format("psd", "PSD", BYTES, ("psd", "psb")),
    Format("eps", "EPS", BYTES, ("eps", "ps", "epsf", "epsi")),
    Format("svg", "SVG", BYTES, ("svg",)),
    Format("html", "HTML", BYTES, ("html", "htm", "xhtml")),
    Format("xml", "XML", BYTES, ("xml",)),
    Format("wav", "WAV", "audio/wav", ("wav", "wave"), "audio"),
    Format("flac", "FLAC", "audio/flac", ("flac",), "audio"),
    Format("mp3", "MP3", "audio/mpeg", ("mp3", "mpga"), "audio"),
    Format("ogg", "Ogg", "audio/ogg", ("ogg", "oga", "opus"), "audio"),
    Format("m4a", "M4A", "audio/mp4", ("m4a", "m4b", "mp4"), "audio"),
    Format("webm", "WebM", "audio/webm", ("webm", "weba"), "audio"),
    Format("aac", "AAC", "audio/aac", ("aac",)),
    Format("aiff", "AIFF", "audio/aiff", ("aif", "aiff", "aifc")),
    Format("mp4", "MP4", "video/mp4", ("mp4", "m4v", "m4a", "m4b", "mov", "3gp")),
    Format("mkv", "Matroska", "video/x-matroska", ("mkv", "mka")),
    Format("pdf", "PDF", "application/pdf", ("pdf",)),
    Format("zip", "ZIP", "application/zip", ("zip", "docx", "xlsx", "pptx", "odt", "ods", "odp", "epub", "jar", "npz")),
    Format("gzip", "gzip", "application/gzip", ("gz", "tgz")),
    Format(
        "text",
        "text",
        "text/plain",
        ("txt", "csv", "tsv", "json", "jsonl", "ndjson", "md", "yaml", "yml", "log", "html", "htm", "xml", "svg"),
    ),
)
FORMATS = {known.name: known for known in _FORMATS}
#: Which formats a name with this ending may stand for.
EXTENSIONS = {ending: {known.name for known in _FORMATS if ending in known.extensions} for known in _FORMATS for ending in known.extensions}
#: What else may have an XML declaration in front.
EXTENSIONS["svg"] |= {"xml"}
EXTENSIONS["html"] |= {"xml"}
#: An MP4 with sound alone is M4A, whatever its name.
for _ending in FORMATS["mp4"].extensions:
    EXTENSIONS[_ending] |= {"m4a"}
#: One word for endings that mean the same.
_SAME = {"yml": "yaml", "ndjson": "jsonl", "htm": "html"}
#: Text is all the bytes say; a name that ends so says what it is, and is believed, because nothing of it runs.
_TEXTS = {
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "json": "application/json",
    "jsonl": "application/x-ndjson",
    "md": "text/markdown",
    "yaml": "application/yaml",
}
_ACTIVE = {"html", "xhtml", "svg", "xml"}


def media_type(name: str, extension: str = "") -> str:
    """What a file of this format is served as; `extension` tells texts apart."""
    if name == "text" and extension:
        extension = canonical(extension)
        return BYTES if extension in _ACTIVE else _TEXTS.get(extension, "text/plain")
    return FORMATS[name].media_type if name in FORMATS else BYTES


def canonical(word: str) -> str:
    """The name of a format that an author or a file's name calls by one of its endings: `jpg` is `jpeg`; others stay as they are."""
    word = word.lower().lstrip(".")
    if word in FORMATS:
        return word
    word = _SAME.get(word, word)
    meant = EXTENSIONS.get(word, set())
    return next(iter(meant)) if len(meant) == 1 and not meant & {"text", "zip"} else word


def shown(name: str) -> str:
    """A format as people write it."""
    return FORMATS[name].shown if name in FORMATS else name.upper()


def of_kind(kind: str) -> tuple[str, ...]:
    """The formats that an input of this kind takes."""
    return tuple(known.name for known in _FORMATS if known.kind == kind)
