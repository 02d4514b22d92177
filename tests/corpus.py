"""Uploads that attack: what a door has to say to each. Names of files that attack are in `NAMES`."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from longrun.media.rules import FileRule
from tests.media_files import (
    GIF_FRAME,
    PIXEL,
    apng_of,
    backward_tiff,
    box,
    exif,
    flac,
    gif_of,
    jpeg_with,
    mp3,
    mp4,
    pdf,
    picture,
    png_chunk,
    png_head,
    png_of,
    png_with_text,
    saved,
    tiff_of,
    tiff_tags,
    wav,
    zipped,
)

IMAGE, AUDIO, FILE = FileRule("image"), FileRule("audio"), FileRule()


@dataclass(frozen=True, slots=True)
class Case:
    """One upload.

    Args:
        name: what is tried.
        filename: as the caller names the file.
        data: its bytes.
        rule: of the input that it is sent to.
        broken: the rule that it breaks; None = it is taken.
        early: whether that is known before the end of the file.
    """

    name: str
    filename: str
    data: bytes = field(repr=False)
    rule: FileRule
    broken: str | None
    early: bool = False

    @property
    def kind(self) -> str:
        """`file`, `image` or `audio`."""
        return self.rule.kind


def only(*formats: str) -> FileRule:
    """A file of these formats."""
    return FileRule(formats=formats)


PNG, JPEG, GIF, WEBP = (saved(picture(), kind) for kind in ("PNG", "JPEG", "GIF", "WEBP"))
SVG = b'<?xml version="1.0"?>\n<!-- a drawing -->\n<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"></svg>'
HTML = b"<!DOCTYPE html><html><script>alert(1)</script></html>"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"
PSD = b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 9, 9, 8, 3) + bytes(50)
SCRIPT = "<script>alert(document.domain)</script>"
ZIP = zipped(("a.html", HTML))

_BOMBS = [
    Case("PNG of 50,000 × 50,000", "a.png", png_head(50_000, 50_000) + PIXEL, IMAGE, "max_pixels", early=True),
    Case("PNG that is 40,000 wide", "a.png", png_head(40_000, 10) + PIXEL, IMAGE, "max_side", early=True),
    Case("PNG over the author's limit", "a.png", PNG, FileRule("image", max_pixels=1000), "max_pixels", early=True),
    Case("PNG over the author's side", "a.png", PNG, FileRule("image", max_side=60), "max_side", early=True),
    Case("WebP over the author's limit", "a.webp", WEBP, FileRule("image", max_pixels=1000), "max_pixels", early=True),
    Case("APNG of 100,000 frames", "a.png", apng_of(3, 100_000), IMAGE, "max_frames", early=True),
    Case("APNG that hides 4,000 frames", "a.png", apng_of(4_000, 1), IMAGE, "max_frames", early=True),
    Case("GIF of 100,000 frames", "a.gif", gif_of(100_000), IMAGE, "max_frames", early=True),
    Case("GIF that moves where one picture is wanted", "a.gif", gif_of(2), FileRule("image", max_frames=1), "max_frames", early=True),
    Case(
        "GIF with a frame larger than its screen",
        "a.gif",
        gif_of(1)[:-1] + GIF_FRAME[:5] + b"\xff\xff\xff\xff" + GIF_FRAME[9:] + b";",
        IMAGE,
        "max_pixels",
    ),
    Case("TIFF of 65,535 samples a pixel", "a.tif", tiff_of(*tiff_tags(samples=65_535)), IMAGE, "format"),
    Case("TIFF of 4 × 2^32 − 1 pixels", "a.tif", tiff_of(*tiff_tags(height=2**32 - 1)), IMAGE, "max_pixels", early=True),
    Case("TIFF whose second directory comes first", "a.tif", backward_tiff(), IMAGE, "format"),
    Case("TIFF that points beyond its end", "a.tif", tiff_of(*tiff_tags(), following=2**31), IMAGE, "complete"),
    Case("TIFF whose directory follows itself", "a.tif", tiff_of(*tiff_tags(), following=8), IMAGE, "format"),
    Case(
        "JPEG with a larger one behind it",
        "a.jpg",
        JPEG + saved(picture("L", (900, 900)), "JPEG"),
        FileRule("image", max_side=800),
        "max_side",
    ),
    Case("more bytes than allowed", "a.png", PNG, FileRule("image", max_bytes=100), "max_bytes", early=True),
    Case(
        "PNG of half a million empty chunks",
        "a.png",
        png_head(9, 9) + png_chunk(b"teSt") * 500_000 + png_of(PIXEL)[33:],
        IMAGE,
        "format",
        early=True,
    ),
    Case(
        "JPEG of a hundred thousand empty comments", "a.jpg", JPEG[:2] + b"\xff\xfe\0\2" * 100_000 + JPEG[2:], IMAGE, "format", early=True
    ),
    Case(
        "JPEG of 2,000 scans",
        "a.jpg",
        JPEG[: JPEG.index(b"\xff\xda")] + JPEG[JPEG.index(b"\xff\xda") : -2] * 2_000 + JPEG[-2:],
        IMAGE,
        "format",
        early=True,
    ),
]
_HIDDEN = [
    Case("GIF that is a script, by a comment", "a.gif", b"GIF89a/*" + gif_of(1)[8:] + b"*/=1;alert(1)", IMAGE, "polyglot"),
    Case("GIF that is a script, by an assignment", "a.gif", b'GIF89a="' + gif_of(1)[8:] + b'";alert(1)', IMAGE, "polyglot"),
    Case("JPEG that is a script", "a.jpg", JPEG[:4] + b"/*" + JPEG[6:20] + bytes(12058) + JPEG[20:], IMAGE, "polyglot"),
    Case("PNG and ZIP", "a.png", PNG + ZIP, IMAGE, "polyglot"),
    Case("JPEG and ZIP", "a.jpg", JPEG + ZIP, IMAGE, "polyglot"),
    Case("JPEG, film and ZIP", "a.jpg", JPEG + mp4() + ZIP, IMAGE, "polyglot"),
    Case("JPEG and ZIP that looks like a phone's trailer", "a.jpg", JPEG + ZIP + b"SEFT", IMAGE, "polyglot"),
    Case("JPEG and anything", "a.jpg", JPEG + b"#!/bin/sh\nrm -rf /\n", IMAGE, "polyglot"),
    Case("JPEG with a ZIP in a comment", "a.jpg", jpeg_with(ZIP), IMAGE, "polyglot"),
    Case("JPEG with a PDF in a comment", "a.jpg", jpeg_with(b"%PDF-1.7\n"), IMAGE, "polyglot"),
    Case("GIF and HTML", "a.gif", GIF + HTML, IMAGE, "polyglot"),
    Case("GIF with a page in a comment", "a.gif", saved(picture("P"), "GIF", comment=HTML), IMAGE, "polyglot"),
    Case("WebP and HTML", "a.webp", WEBP + HTML, IMAGE, "polyglot"),
    Case("WebP with a script in XMP", "a.webp", saved(picture(), "WEBP", xmp=SCRIPT.encode()), IMAGE, "polyglot"),
    Case("BMP and PHP", "a.bmp", saved(picture(), "BMP") + b"<?php system($_GET[0]); ?>", IMAGE, "polyglot"),
    Case("EXIF with a script, JPEG", "a.jpg", saved(picture(), "JPEG", exif=exif(SCRIPT)), IMAGE, "polyglot"),
    Case("EXIF with a script, PNG", "a.png", saved(picture(), "PNG", exif=exif(SCRIPT)), IMAGE, "polyglot"),
    Case("EXIF with a script, WebP", "a.webp", saved(picture(), "WEBP", exif=exif(SCRIPT)), IMAGE, "polyglot"),
    Case("EXIF with a script in UTF-16", "a.jpg", jpeg_with(b"Exif\0\0" + SCRIPT.encode("utf-16-le"), 0xE1), IMAGE, "polyglot"),
    Case("TIFF with a script in its description", "a.tif", saved(picture(), "TIFF", description=SCRIPT), IMAGE, "polyglot"),
    Case("PNG text with a script", "a.png", png_with_text("Comment", SCRIPT.upper()), IMAGE, "polyglot"),
    Case("PNG text with PHP", "a.png", png_with_text("Comment", "<?php phpinfo();"), IMAGE, "polyglot"),
    Case("PNG text with a drawing", "a.png", png_with_text("Comment", "<svg onload=alert(1)>"), IMAGE, "polyglot"),
    Case("PNG text with a frame", "a.png", png_with_text("Comment", "<iframe src=//example.com>"), IMAGE, "polyglot"),
    Case("PNG text with an address that runs", "a.png", png_with_text("Comment", "JavaScript:alert(1)"), IMAGE, "polyglot"),
    Case("PNG with packed text, which is not unpacked", "a.png", png_with_text("Comment", "The sea. " * 1000, packed=True), IMAGE, None),
    Case("MP3 with a script in its title", "a.mp3", mp3(title=SCRIPT.encode()), AUDIO, "polyglot"),
    Case("M4A with a script", "a.m4a", mp4(b"mp42", (b"soun",)) + box(b"free", SCRIPT.encode()), AUDIO, "polyglot"),
    Case("WAV and ZIP", "a.wav", wav() + ZIP, AUDIO, "polyglot"),
    Case("PDF and ZIP", "a.pdf", pdf() + ZIP, only("pdf"), "polyglot"),
    Case("ZIP and PDF", "a.zip", zipped(("a.pdf", pdf())), only("zip"), "polyglot"),
]
_DISGUISED = [
    Case("SVG renamed .png", "a.png", SVG, IMAGE, "formats"),
    Case("SVG", "a.svg", SVG, IMAGE, "formats"),
    Case("SVG that a rule names", "a.svg", SVG, FileRule("image", formats=("svg", "png")), "formats"),
    Case("SVG where SVG is wanted", "a.svg", SVG, only("svg"), None),
    Case("HTML renamed .jpg", "a.jpg", HTML, IMAGE, "formats"),
    Case("PSD", "a.psd", PSD, IMAGE, "formats"),
    Case("EPS", "a.eps", EPS, IMAGE, "formats"),
    Case("PDF renamed .png", "a.png", pdf(), IMAGE, "formats"),
    Case("PNG renamed .jpg", "photo.jpg", PNG, IMAGE, "extension", early=True),
    Case("PNG renamed .pdf", "photo.pdf", PNG, IMAGE, "extension", early=True),
    Case("PNG renamed .jpg behind a zero", "photo.png\0.jpg", PNG, IMAGE, "extension", early=True),
    Case("PNG renamed .JPG.", "photo.JPG. ", PNG, IMAGE, "extension", early=True),
    Case("PNG without a name", "", PNG, IMAGE, None),
    Case("PNG called blob", "blob", PNG, IMAGE, None),
    Case("PNG called .bin", "upload.bin", PNG, IMAGE, None),
    Case("JPEG called .jfif", "a.jfif", JPEG, IMAGE, None),
    Case("PNG where JPEG is wanted", "a.png", PNG, FileRule("image", formats=("jpg",)), "formats", early=True),
    Case("picture where sound is wanted", "a.png", PNG, AUDIO, "formats", early=True),
    Case("sound where a picture is wanted", "a.wav", wav(), IMAGE, "formats", early=True),
    Case("film where sound is wanted", "a.mp4", mp4(), AUDIO, "formats"),
    Case("sound in a file called .mp4", "a.mp4", mp4(b"mp42", (b"soun",)), AUDIO, None),
    Case("FLAC with a tag in front", "a.flac", mp3(0, b"Sea") + flac(), FileRule("audio", formats=("flac",)), None),
    Case("text where a picture is wanted", "a.png", b"I am a picture.", IMAGE, "formats"),
    Case("noise where a picture is wanted", "a.png", bytes(range(256)) * 40, IMAGE, "formats", early=True),
    Case("a script called .pdf", "a.pdf", b"#!/bin/sh\n", only("pdf"), "formats"),
    Case("a table", "a.csv", b"a,b\n1,2\n", only("csv"), None),
    Case("a table without a name", "", b"a,b\n1,2\n", only("csv"), None),
    Case("JSON where a table is wanted", "a.json", b"{}", only("csv"), "formats"),
    Case("a picture called .csv", "a.csv", PNG, only("csv"), "formats", early=True),
    Case("text with a zero in it", "a.txt", b"text\0text", only("txt"), "formats"),
    Case("Word", "a.docx", zipped(("word/document.xml", b"<a/>")), only("docx"), None),
    Case("a format that only its name tells", "a.parquet", b"PAR1" + bytes(range(256)) + b"PAR1", only("parquet"), None),
    Case("a picture called by a format that only its name tells", "a.parquet", PNG, only("parquet"), "formats", early=True),
]
_BROKEN = [
    Case("0 bytes", "a.png", b"", IMAGE, "empty"),
    Case("0 bytes where anything goes", "a", b"", FILE, "empty"),
    Case("truncated JPEG", "a.jpg", JPEG[: len(JPEG) // 2], IMAGE, "complete"),
    Case("truncated PNG", "a.png", PNG[: len(PNG) // 2], IMAGE, "complete"),
    Case("truncated WAV", "a.wav", wav()[:500], AUDIO, "complete"),
    Case("truncated ZIP", "a.zip", ZIP[:-1], only("zip"), "complete"),
    Case("PNG with a wrong checksum", "a.png", PNG[:-20] + bytes((PNG[-20] ^ 1,)) + PNG[-19:], IMAGE, "format"),
    Case("PNG without a header", "a.png", PNG[:8] + PIXEL + png_chunk(b"IEND"), IMAGE, "format"),
    Case("PNG without a picture", "a.png", png_of(), IMAGE, "format"),
    Case("PNG with two headers", "a.png", png_head(1, 1) + png_of(PIXEL)[8:], IMAGE, "format"),
    Case("PNG of 0 × 5", "a.png", png_head(0, 5), IMAGE, "format"),
    Case("APNG that ends before its frames", "a.png", apng_of(2, 5), IMAGE, "format"),
    Case("JPEG without a frame header", "a.jpg", b"\xff\xd8\xff\xda\0\x08\1\1\0\0\x3f\0abc\xff\xd9", IMAGE, "format"),
    Case("JPEG with two frame headers", "a.jpg", JPEG[:2] + b"\xff\xc0\0\x0b\x08\0\x09\0\x09\1\1\x11\0" + JPEG[2:], IMAGE, "format"),
    Case("JPEG without a scan", "a.jpg", JPEG[: JPEG.index(b"\xff\xda")] + b"\xff\xd9", IMAGE, "format"),
    Case("GIF without a picture", "a.gif", gif_of(0), IMAGE, "format"),
    Case("WebP without a picture", "a.webp", b"RIFF\x0c\0\0\0WEBPICCP\0\0\0\0", IMAGE, "format"),
    Case("TIFF without data", "a.tif", tiff_of(*tiff_tags()[:3]), IMAGE, "format"),
    Case("TIFF whose data is elsewhere", "a.tif", tiff_of(*tiff_tags()[:3], (273, 4, 1, 90_000), (279, 4, 1, 9)), IMAGE, "complete"),
    Case("a broken picture where anything goes", "a.png", PNG[:50], FILE, None),
    Case("an attack where anything goes", "a.html", HTML, FILE, None),
    Case("a ZIP in a ZIP", "a.zip", zipped(("b.zip", ZIP)), only("zip"), None),
]
CASES = [*_BOMBS, *_HIDDEN, *_DISGUISED, *_BROKEN]

#: What is tried, the name as the caller gives it, and what is shown of it.
NAMES = [
    ("folders above", "../../x", "x"),
    ("folders above, Windows", r"..\..\x.png", "x.png"),
    ("a whole path", "/etc/passwd", "passwd"),
    ("a drive", r"C:\Windows\win.ini", "win.ini"),
    ("escaped folders", "..%2f", "%2f"),
    ("a zero", "a.png\0.jpg", "a.png.jpg"),
    ("right to left", "invoice\u202egnp.exe", "invoicegnp.exe"),
    ("isolates", "a\u2066b\u2069.png", "ab.png"),
    ("a device", "CON", "_CON"),
    ("a device with an ending", "nul.tar.gz", "_nul.tar.gz"),
    ("a port", "com1.txt", "_com1.txt"),
    ("a further stream", "a.txt:evil.exe", "a.txt_evil.exe"),
    ("hidden", ".htaccess", "htaccess"),
    ("only dots", "..", ""),
    ("nothing", "", ""),
    ("a header", "a\r\nSet-Cookie: b=1.png", "aSet-Cookie_ b=1.png"),
    ("a terminal", "\x1b[2Ja.png", "[2Ja.png"),
    ("a separator of lines", "a\u2028b.png", "ab.png"),
    ("half a character", "a\ud800.png", "a.png"),
    ("quotes", 'a"b.png', "a_b.png"),
    ("markup", "<img onerror=alert(1)>.png", "_img onerror=alert(1)_.png"),
    ("accents apart", "e\u0301.png", "é.png"),
    ("dots at the end", "a.png. . ", "a.png"),
    ("5,000 characters", "x" * 5000 + ".jpeg", "x" * 195 + ".jpeg"),
]
