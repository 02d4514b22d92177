"""What a model allows of a file, and whether a file keeps to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from longrun.media.facts import Facts
from longrun.media.names import extension
from longrun.media.source import HELD
from longrun.media.types import EXTENSIONS, FORMATS, canonical, of_kind, shown

Kind = Literal["file", "image", "audio"]

#: What images may have where a rule says nothing: a decoder takes 200 MB for so many pixels.
MAX_PIXELS, MAX_SIDE, MAX_FRAMES = 50_000_000, 30_000, 1_000
#: Never images, whatever a rule says: they hold programs, or layers that decoders read in different ways.
_NEVER_IMAGES = {
    "svg": "because it can hold scripts",
    "eps": "because it is a program",
    "psd": "because decoders read it in different ways",
}
#: What a file may turn out to be further on.
_BECOMES = {"mp4": {"m4a"}, "mp3": {"flac"}, "webm": {"mkv"}}
#: Formats by name that may be any text too, and what a file may be whose format only its name tells.
_TEXTUAL = {"html", "svg", "xml"}
_BY_NAME = {"", "text", "zip", "gzip"}


@dataclass(frozen=True, slots=True)
class FileRule:
    """What is allowed.

    Args:
        kind: `image` and `audio` allow only formats of that kind.
        max_bytes: size of the file.
        formats: names of formats (see `Facts.format`, and further ones that `File` inputs may name by extension); empty = all of the kind.
        max_pixels, max_side, max_frames: of images; width × height, the longer side, pictures in it. None = for `image`, what is sensible
            (`MAX_PIXELS`, `MAX_SIDE`, `MAX_FRAMES`); for others, no limit.
    """

    kind: Kind = "file"
    max_bytes: int = 100_000_000
    formats: tuple[str, ...] = ()
    max_pixels: int | None = None
    max_side: int | None = None
    max_frames: int | None = None


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that a file breaks.

    Args:
        rule: `max_bytes`, `formats`, `extension`, `max_pixels`, `max_side`, `max_frames`, `complete`, `polyglot`, `format` or `empty`.
        detail: a sentence for the caller that has the limit in it.
        limit: the limit itself, if there is one.
    """

    rule: str
    detail: str
    limit: Any = None


def judge(rule: FileRule, facts: Facts, size: int, filename: str = "", *, final: bool) -> Broken | None:
    """The first rule that the file breaks; None = none, as far as it was read. `final`: it was read to its end."""
    if size > rule.max_bytes:
        return Broken("max_bytes", f"It is larger than the {rule.max_bytes:,} bytes that are allowed here (max_bytes).", rule.max_bytes)
    if not size:
        return Broken("empty", "It is empty.") if final else None
    if rule.kind == "file" and not rule.formats:
        return _picture(rule, facts)
    possible = {facts.format} if final else {facts.format} | _BECOMES.get(facts.format, set())
    if not final and not facts.format and size < HELD:  # texts are recognised late
        return None
    return _type(rule, possible, facts.format, extension(filename)) or _picture(rule, facts) or _flaw(facts)


def _type(rule: FileRule, possible: set[str], found: str, ending: str) -> Broken | None:
    """Whether the bytes are of a format that is allowed, and the name does not say another."""
    allowed = _allowed(rule)
    if rule.kind == "image" and found in _NEVER_IMAGES:
        instead = f"; send {_listed(allowed)}" if allowed else ""
        return Broken("formats", f"{shown(found)} is never taken as an image, {_NEVER_IMAGES[found]}{instead} (formats).", allowed)
    if not any(_is(name, one, ending) for name in allowed for one in possible):
        it_is = f"It is {shown(found)}" if found else "It is of no format that is known here"
        return Broken("formats", f"{it_is}; allowed here: {_listed(allowed)} (formats).", allowed)
    if ending in EXTENSIONS and not EXTENSIONS[ending] & possible:
        return Broken("extension", f"It is {shown(found)}, but its name ends in .{ending}.")
    return None


def _allowed(rule: FileRule) -> tuple[str, ...]:
    """Names of the formats that the rule allows, as the author wrote them."""
    of = of_kind(rule.kind)
    if rule.kind == "file":
        return rule.formats
    return tuple(name for name in rule.formats if canonical(name) in of) if rule.formats else of


def _is(name: str, found: str, ending: str) -> bool:
    """Whether a file of the format `found` whose name has this ending is what `name` allows."""
    word = canonical(name)
    if word == found or (word, found) == ("mp4", "m4a"):
        return True
    if word in FORMATS and word not in _TEXTUAL:
        return False
    if word not in EXTENSIONS:
        return canonical(ending) == word and found in _BY_NAME
    return found in EXTENSIONS[word] and (canonical(ending) == word or ending not in EXTENSIONS)


def _picture(rule: FileRule, facts: Facts) -> Broken | None:
    """Whether pictures are small and few enough; known long before the end."""
    image = rule.kind == "image"
    pixels = _limit(rule.max_pixels, MAX_PIXELS, image)
    side = _limit(rule.max_side, MAX_SIDE, image)
    frames = _limit(rule.max_frames, MAX_FRAMES, image)
    width, height = facts.width or 0, facts.height or 0
    size = f"It is {width:,} × {height:,} pixels"
    if pixels is not None and width * height > pixels:
        return Broken("max_pixels", f"{size}; at most {pixels:,} are allowed here (max_pixels).", pixels)
    if side is not None and max(width, height) > side:
        return Broken("max_side", f"{size}; at most {side:,} a side are allowed here (max_side).", side)
    if frames is not None and (facts.frames or 0) > frames:
        return Broken("max_frames", f"It has {facts.frames:,} frames or more; at most {frames:,} are allowed here (max_frames).", frames)
    return None


def _limit(said: int | None, otherwise: int, image: bool) -> int | None:
    """The limit that holds; None = none."""
    return said if said is not None else otherwise if image else None


def _flaw(facts: Facts) -> Broken | None:
    """Whether it is whole, sound and nothing else."""
    return Broken(facts.flaw_rule, facts.flaw) if facts.flaw else None


def _listed(names: Iterable[str]) -> str:
    """Formats as people write them."""
    return ", ".join(shown(name.lower().lstrip(".")) for name in names)
