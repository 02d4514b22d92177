"""Limits, names of formats, and what is said before the end of a file."""

from __future__ import annotations

import pytest

from longrun.media.facts import Facts
from longrun.media.rules import MAX_FRAMES, MAX_PIXELS, MAX_SIDE, Broken, FileRule, judge

IMAGE, AUDIO = FileRule("image"), FileRule("audio")
SMALL = Facts("png", "image/png", 10, 10, 1)


def broken(rule: FileRule, facts: Facts, filename: str = "", *, size: int = 5000, final: bool = True) -> str | None:
    found = judge(rule, facts, size, filename, final=final)
    return found.rule if found else None


def test_a_limit_is_the_most_that_is_allowed() -> None:
    assert broken(FileRule("image", max_bytes=5000), SMALL) is None
    assert broken(FileRule("image", max_bytes=4999), SMALL) == "max_bytes"
    assert broken(FileRule("image", max_pixels=100, max_side=10, max_frames=1), SMALL) is None
    assert broken(FileRule("image", max_pixels=99), SMALL) == "max_pixels"
    assert broken(FileRule("image", max_side=9), SMALL) == "max_side"
    assert broken(FileRule("image", max_frames=1), Facts("gif", "image/gif", 10, 10, 2)) == "max_frames"


def test_images_have_limits_that_nobody_named() -> None:
    assert broken(IMAGE, Facts("png", "", 10_000, MAX_PIXELS // 10_000, 1)) is None
    assert broken(IMAGE, Facts("png", "", 10_000, MAX_PIXELS // 10_000 + 1, 1)) == "max_pixels"
    assert broken(IMAGE, Facts("png", "", 1, MAX_SIDE + 1, 1)) == "max_side"
    assert broken(IMAGE, Facts("gif", "", 1, 1, MAX_FRAMES + 1)) == "max_frames"


def test_an_author_may_name_a_higher_limit() -> None:
    assert broken(FileRule("image", max_pixels=10**9, max_frames=10**6), Facts("gif", "", 25_000, 25_000, 50_000)) is None


def test_files_have_limits_of_pixels_only_when_somebody_named_them() -> None:
    huge = Facts("png", "", 100_000, 100_000, 1)
    assert broken(FileRule(), huge) is None
    assert broken(FileRule(max_pixels=100), huge) == "max_pixels"


def test_limits_are_told_in_sentences_with_the_limit_in_them() -> None:
    rule = FileRule("image", max_bytes=2_000_000, max_pixels=40_000_000)
    facts = Facts("png", "", 50_000, 50_000, 1)
    expected = Broken("max_pixels", "It is 50,000 × 50,000 pixels; at most 40,000,000 are allowed here (max_pixels).", 40_000_000)
    assert judge(rule, facts, 100, final=False) == expected
    found = judge(rule, SMALL, 2_000_001, final=False)
    assert found == Broken("max_bytes", "It is larger than the 2,000,000 bytes that are allowed here (max_bytes).", 2_000_000)
    found = judge(FileRule("image", formats=("jpg", "webp")), SMALL, 100, final=True)
    assert found == Broken("formats", "It is PNG; allowed here: JPG, WebP (formats).", ("jpg", "webp"))
    found = judge(IMAGE, SMALL, 100, "photo.JPG", final=True)
    assert found == Broken("extension", "It is PNG, but its name ends in .jpg.")


def test_the_end_of_an_upload_is_not_awaited_when_the_format_is_wrong() -> None:
    assert broken(AUDIO, SMALL, final=False) == "formats"
    assert broken(IMAGE, Facts("text", "text/plain"), final=False) == "formats"
    assert broken(IMAGE, Facts(), size=5000, final=False) == "formats"


def test_what_is_not_known_yet_is_not_judged_yet() -> None:
    assert broken(IMAGE, Facts(), size=20, final=False) is None
    assert broken(IMAGE, Facts(), size=0, final=False) is None
    # an MP4 may hold sound alone, and an MP3's tag may stand before a FLAC
    assert broken(AUDIO, Facts("mp4", "video/mp4"), "a.m4a", final=False) is None
    assert broken(AUDIO, Facts("mp4", "video/mp4"), "a.m4a", final=True) == "formats"
    assert broken(FileRule("audio", formats=("flac",)), Facts("mp3"), "a.flac", final=False) is None
    assert broken(FileRule(formats=("mkv",)), Facts("webm"), "a.mkv", final=False) is None


@pytest.mark.parametrize("kind", ["image", "audio", "file"])
def test_a_file_of_no_bytes_is_empty(kind: str) -> None:
    assert broken(FileRule(kind), Facts(), size=0) == "empty"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "filename"),
    [
        ("jpeg", "a.jpg"),
        ("jpeg", "a.JPEG"),
        ("jpeg", "a.jpe"),
        ("jpeg", "a.jfif"),
        ("tiff", "a.tif"),
        ("tiff", "a.tiff"),
        ("png", "a.apng"),
        ("png", "a"),
        ("png", ""),
        ("png", "a.bin"),
        ("png", "a.v2"),
        ("png", "jpg"),
    ],
)
def test_names_that_do_not_contradict_are_fine(found: str, filename: str) -> None:
    assert broken(IMAGE, Facts(found), filename) is None


@pytest.mark.parametrize("filename", ["a.oga", "a.opus", "a.ogg", "folder.mp3/a"])
def test_sound_in_ogg_has_several_names(filename: str) -> None:
    assert broken(AUDIO, Facts("ogg"), filename) is None


@pytest.mark.parametrize("filename", ["a.jpg", "a.svg", "a.html", "a.pdf", "a.txt", "a.docx", "a.png.mp4", r"a.png\b.gif"])
def test_a_name_of_another_known_format_is_refused(filename: str) -> None:
    assert broken(IMAGE, Facts("png"), filename) == "extension"
    assert broken(FileRule(), Facts("png"), filename) is None


@pytest.mark.parametrize(
    ("formats", "found", "filename", "allowed"),
    [
        (("PNG", ".jpg"), "jpeg", "a.jpg", True),
        (("mp4",), "m4a", "a.mp4", True),
        (("m4a",), "mp4", "a.m4a", False),
        (("mov",), "mp4", "a.mov", True),
        (("opus",), "ogg", "a.opus", True),
        (("text",), "text", "a.md", True),
        (("txt",), "text", "a.md", False),
        (("md",), "text", "a.md", True),
        (("yaml",), "text", "a.yml", True),
        (("jsonl",), "text", "a.ndjson", True),
        (("csv",), "text", "upload", True),
        (("csv",), "", "a.csv", False),
        (("html",), "html", "a.htm", True),
        (("html",), "text", "a.htm", True),
        (("html",), "zip", "a.html", False),
        (("xml",), "xml", "a.xml", True),
        (("xml",), "svg", "a.xml", False),
        (("docx",), "zip", "a.docx", True),
        (("docx",), "zip", "a.zip", False),
        (("zip",), "zip", "a.docx", True),
        (("gz",), "gzip", "a.tar.gz", True),
        (("safetensors",), "", "a.safetensors", True),
        (("safetensors",), "", "a.bin", False),
        (("safetensors",), "html", "a.safetensors", False),
        (("pt",), "zip", "model.pt", True),
        (("heic",), "heic", "a.heic", True),
    ],
)
def test_formats_are_named_by_what_they_are_or_by_their_endings(formats: tuple[str, ...], found: str, filename: str, allowed: bool) -> None:
    assert broken(FileRule(formats=formats), Facts(found), filename) == (None if allowed else "formats")


def test_flaws_matter_where_the_format_does() -> None:
    cut = Facts("png", "image/png", 9, 9, 1, "It is not whole.", "complete")
    assert broken(FileRule(), cut) is None
    assert broken(FileRule(formats=("png",)), cut) == "complete"
    assert broken(IMAGE, cut, final=False) == "complete"


@pytest.mark.parametrize("name", ["svg", "psd", "eps"])
def test_programs_and_layers_are_never_images(name: str) -> None:
    for rule in (IMAGE, FileRule("image", formats=(name,)), FileRule("image", formats=(name, "png"))):
        found = judge(rule, Facts(name), 100, f"a.{name}", final=True)
        assert found is not None and found.rule == "formats" and f"{name.upper()} is never taken as an image, because" in found.detail


def test_a_kind_allows_its_formats_alone_whatever_a_rule_names() -> None:
    assert broken(FileRule("image", formats=("pdf", "png")), Facts("pdf")) == "formats"
    assert broken(FileRule("audio", formats=("png",)), Facts("png")) == "formats"
