"""What is told apart by bytes alone, and what each format is served as."""

from __future__ import annotations

import pytest
from tests.media_files import PLIST, XMP, mp4, webm

from longrun.media.facts import Facts
from longrun.media.scan import Scanner
from longrun.media.types import BYTES, EXTENSIONS, FORMATS, canonical, media_type, of_kind
from longrun.media.watch import Watch


def scanned(data: bytes) -> Facts:
    scanner = Scanner()
    scanner.feed(data)
    return scanner.close()


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", ""),
        (b"text", "text"),
        ("Größe, 大きさ".encode(), "text"),
        (b"\xef\xbb\xbftext", "text"),
        ("Größe".encode("latin-1"), ""),
        ("Größe".encode("utf-16"), ""),
        (b"text\0text", ""),
        (b"x" * 10_000 + b"\xff", ""),
        (b"x" * 10_000 + "ß".encode()[:1], ""),
        (b"BMW is a car, and not a BMP of any kind.", "text"),
        (b"ID3 tags are found in MP3 files.", "text"),
        (b'{"a": 1}', "text"),
        (b"# Title\n<div align='center'>", "text"),
        (b"<p>It is not HTML that starts like this", "text"),
        (b"  <!DOCTYPE html>\n<p>", "html"),
        (b"<!-- page --><HTML lang='en'>", "html"),
        (b"<script>alert(1)</script>", "html"),
        (b"<iframe src='x'>", "html"),
        (b'<?xml version="1.0"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0"><html xmlns="x">', "html"),
        (b"<html>\0\xff", "html"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg"),
        (b'<?xml version="1.0"?>\n<!-- by hand -->\n<!DOCTYPE svg PUBLIC "x" "y" [<!ENTITY a "b">]>\n<svg:svg>', "svg"),
        (b'<?xml version="1.0"?><rss/>', "xml"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "eps"),
        (b"\xc5\xd0\xd3\xc6" + bytes(30), "eps"),
        (b"8BPS\0\1", "psd"),
        (b"\0\0\1\0\1\0", "ico"),
        (b"\xff\xf1\x50\x80", "aac"),
        (b"FORM\0\0\0\x20AIFF", "aiff"),
        (mp4(b"heic", ()), "heic"),
        (mp4(b"avif", ()), "avif"),
        (mp4(b"qt  "), "mp4"),
        (webm(b"matroska"), "mkv"),
        (bytes(100), ""),
        (b"\x7fELF" + bytes(60), ""),
    ],
)
def test_bytes_say_what_a_file_is(data: bytes, found: str) -> None:
    assert scanned(data).format == found


def test_a_text_that_takes_long_to_understand_takes_no_longer() -> None:
    for start in (b"<!--", b"<?", b"<!doctype a[", b"<!doctype a[]  ", b" ", b"<!---->"):
        assert scanned(start * 50_000).format in {"text", "xml"}


def test_what_may_run_in_a_browser_is_served_as_bytes() -> None:
    for name in ("svg", "html", "xml", "eps", "", "unheard"):
        assert media_type(name) == BYTES
    for ending in ("svg", "html", "htm", "xhtml", "xml"):
        assert media_type("text", ending) == BYTES
    assert not {known.media_type for known in FORMATS.values()} & {"text/html", "image/svg+xml", "application/xml", "text/javascript"}


def test_texts_are_served_as_their_names_say() -> None:
    assert media_type("text", "csv") == "text/csv"
    assert media_type("text", "json") == "application/json"
    assert media_type("text", "ndjson") == "application/x-ndjson"
    assert media_type("text", "js") == media_type("text", "php") == media_type("text") == "text/plain"
    assert media_type("png", "html") == "image/png"


def test_the_table_of_formats_is_in_order() -> None:
    assert of_kind("image") == ("png", "jpeg", "gif", "webp", "bmp", "tiff")
    assert of_kind("audio") == ("wav", "flac", "mp3", "ogg", "m4a", "webm")
    assert EXTENSIONS["jpg"] == {"jpeg"} and EXTENSIONS["mp4"] == EXTENSIONS["m4a"] == {"mp4", "m4a"}
    assert [canonical(word) for word in ("JPG", ".tif", "opus", "csv", "docx", "htm", "parquet")] == [
        "jpeg", "tiff", "ogg", "csv", "docx", "html", "parquet"
    ]  # fmt: skip


@pytest.mark.parametrize("data", [XMP, PLIST, b"a < b", b"<x:svgish>", b"<scr", b"PK\3\4", b"http://example.com/html"])
def test_harmless_words_are_not_taken_for_something_hidden(data: bytes) -> None:
    watch = Watch()
    watch.see(data)
    assert watch.found == ""


@pytest.mark.parametrize(
    "data",
    [
        b"<script",
        b"<SCRIPT src=x>",
        "<script>".encode("utf-16-be"),
        b"<?php ",
        b"<!DOCTYPE html",
        b"<!doctype" + b" " * 50 + b"html",
        b"<html>",
        b"<svg/onload=alert(1)>",
        b"<svg" + b" " * 50 + b"onload=alert(1)>",
        b"<svg><script",
        b"<svg>\n<g>",
        b"<iframe>",
        b"javascript:alert(1)",
        b"%PDF-1.4",
        b"PK\5\6" + bytes(18),
        b"PK\5\6\0\0\0\0\2\0\2\0" + bytes(10),
        b"Rar!\x1a\x07\0",
        b"7z\xbc\xaf\x27\x1c",
    ],
)
def test_hidden_things_are_found_in_one_piece_and_in_many(data: bytes) -> None:
    whole, pieces = Watch(), Watch()
    whole.see(b"\xff" * 100 + data)
    for at in range(len(data)):
        pieces.see(data[at : at + 1])
    assert whole.found and whole.found == pieces.found


def test_a_watch_holds_a_few_bytes() -> None:
    watch = Watch()
    for _ in range(5):
        watch.see(b"<svg" + b"x" * 100_000)
        assert len(watch._text) + len(watch._raw) <= 64
