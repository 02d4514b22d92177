"""Parts of files that are in the wrong place, or that common writers do not make: put together by hand."""

from __future__ import annotations

import struct

import pytest
from tests.media_files import PIXEL, apng_of, gif_of, moving, picture, png_chunk, saved, tiff_tags, wav, zipped

from longrun.media.facts import Facts
from longrun.media.scan import Scanner


def scanned(data: bytes) -> Facts:
    scanner = Scanner()
    scanner.feed(data)
    return scanner.close()


def riff(*chunks: tuple[bytes, bytes], size: int | None = None) -> bytes:
    """A WebP of these chunks."""
    body = b"WEBP" + b"".join(name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def canvas(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    return b"VP8X", struct.pack("<I", flags) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def lossless(width: int, height: int) -> tuple[bytes, bytes]:
    return b"VP8L", b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(9)


def frame(left: int, top: int, width: int, height: int) -> tuple[bytes, bytes]:
    numbers = (left // 2, top // 2, width - 1, height - 1, 40)
    name, data = lossless(width, height)
    return b"ANMF", b"".join(number.to_bytes(3, "little") for number in numbers) + b"\0" + name + struct.pack("<I", len(data)) + data


def tiff_with_lengths_first(data: bytes) -> bytes:
    """A TIFF of two strips whose lengths stand before their places, and both before the pixels."""
    tags = [tag for tag in tiff_tags() if tag[0] not in {273, 279}]
    lengths = 8 + 2 + 12 * (len(tags) + 2) + 4
    tags += [(273, 4, 2, lengths + 8), (279, 4, 2, lengths)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    arrays = struct.pack("<IIII", 8, 8, lengths + 16, lengths + 24)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + arrays + data


def bmp_with_profile(profile: bytes) -> bytes:
    """A BMP of one pixel and a profile behind it."""
    header = struct.pack("<IiiHHIIiiII", 124, 1, 1, 1, 24, 0, 4, 0, 0, 0, 0) + bytes(72) + struct.pack("<III", 128, len(profile), 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(header)) + header + bytes(4) + profile


def test_a_moving_webp_is_one_of_frames_on_a_canvas() -> None:
    good = scanned(riff(canvas(8, 8, flags=2), (b"ANIM", bytes(6)), frame(0, 0, 8, 8), frame(2, 2, 6, 6)))
    assert (good.flaw, good.frames, good.width, good.height) == ("", 2, 8, 8)


@pytest.mark.parametrize(
    "data",
    [
        riff(canvas(8, 8)),
        riff(canvas(8, 8, flags=2), (b"ANIM", bytes(6))),
        riff(canvas(8, 8, flags=2), frame(2, 2, 8, 8)),
        riff(canvas(8, 8), frame(0, 0, 8, 8)),
        riff(canvas(8, 8), lossless(9, 9)),
        riff(lossless(8, 8), lossless(8, 8)),
        riff(canvas(8, 8), canvas(8, 8), lossless(8, 8)),
        riff((b"ICCP", b"profile"), lossless(8, 8)),
        riff((b"VP8L", b"\x30" + bytes(13))),
        riff((b"VP8 ", bytes(20))),
        riff((b"VP8L", b"\x2f")),
        riff(lossless(8, 8), size=20),
    ],
)
def test_a_webp_that_no_writer_makes_is_broken(data: bytes) -> None:
    assert scanned(data).flaw_rule == "format"


def test_a_picture_in_a_webp_may_stand_alone_or_on_its_canvas() -> None:
    assert scanned(riff(lossless(8, 9))) == scanned(riff(canvas(8, 9), lossless(8, 9))) == Facts("webp", "image/webp", 8, 9, 1)


def test_a_tiff_reaches_to_the_end_of_its_last_strip() -> None:
    assert scanned(tiff_with_lengths_first(bytes(16))).flaw == ""
    for missing in range(1, 9):
        assert scanned(tiff_with_lengths_first(bytes(16 - missing))).flaw_rule == "complete"


def test_a_bmp_reaches_to_the_end_of_its_profile() -> None:
    assert scanned(bmp_with_profile(b"profile")) == Facts("bmp", "image/bmp", 1, 1, 1)
    assert scanned(bmp_with_profile(b"profile")[:-1]).flaw_rule == "complete"


def test_the_rows_of_a_bmp_may_go_downwards() -> None:
    data = bytearray(saved(picture(), "BMP"))
    data[22:26] = struct.pack("<i", -43)
    assert scanned(bytes(data)) == Facts("bmp", "image/bmp", 61, 43, 1)


def test_a_wrong_size_in_the_header_of_a_bmp_is_nothing() -> None:
    data = saved(picture(), "BMP")
    for size in (0, 100, len(data) + 100):
        assert scanned(data[:2] + struct.pack("<I", size) + data[6:]).flaw == ""


def test_a_wrong_size_in_the_header_of_a_wav_is_nothing() -> None:
    data = wav()
    for size in (0, len(data), len(data) - 20, 0x7FFFF024):
        assert scanned(data[:4] + struct.pack("<I", size) + data[8:]).flaw == ""
    assert scanned(data + b"more of it").flaw_rule == "polyglot"


def test_the_format_of_a_wav_comes_before_its_sound() -> None:
    data = wav()
    assert scanned(data[:12] + data[36:] + data[12:36]).flaw_rule == "format"
    assert scanned(data[:4] + struct.pack("<I", 28) + data[8:36]).flaw_rule == "format"


@pytest.mark.parametrize("place", [(2, 1, 0, 0), (1, 1, 1, 0), (1, 1, 0, 1), (0, 1, 0, 0)])
def test_a_frame_of_an_apng_lies_within_the_picture(place: tuple[int, int, int, int]) -> None:
    good = apng_of(1)
    control = struct.pack(">I", 0) + struct.pack(">IIII", *place) + struct.pack(">HHBB", 1, 10, 0, 0)
    start = good.index(b"fcTL") - 4
    assert scanned(good).flaw == ""
    assert scanned(good[:start] + png_chunk(b"fcTL", control) + good[start + 38 :]).flaw_rule == "format"


def test_the_pixels_of_a_png_are_in_one_piece() -> None:
    data = saved(picture(), "PNG")
    assert scanned(data[:-12] + png_chunk(b"teSt") + PIXEL + data[-12:]).flaw_rule == "format"


def test_a_gif_can_be_a_script_that_ends_within_it() -> None:
    plain = gif_of(1)
    script = b"!\xfe\x10*/=1;alert(1)////\0;"
    for size in (b"/*\1\0", b"//\1\0", b'="\1\0', b"=\n=\n", b"(1\1\0"):
        assert scanned(plain[:6] + size + plain[10:-1] + script).flaw_rule == "polyglot"


def test_ordinary_gifs_are_no_scripts() -> None:
    # 61 = "=", 47 = "/", 2,621 = "=\n"
    for width, height in ((61, 61), (317, 61), (47, 47), (2621, 480), (10_800, 42)):
        assert scanned(b"GIF89a" + struct.pack("<HH", width, height) + gif_of(1)[10:]).flaw == ""


def test_stray_zeros_between_the_blocks_of_a_gif_are_nothing() -> None:
    data = gif_of(1)
    assert scanned(data[:-1] + b"\0\0;").flaw == ""
    assert scanned(data[:-1] + b"\1;").flaw_rule == "format"


def test_the_largest_frame_of_a_gif_counts() -> None:
    wide = b"," + struct.pack("<HHHHB", 10, 0, 30, 5, 0) + b"\x02\x02\x44\x01\0"
    facts = scanned(gif_of(1)[:-1] + wide + b";")
    assert (facts.width, facts.height, facts.frames) == (40, 5, 2)


def test_a_jpeg_behind_a_jpeg_counts_with_its_size_and_not_as_a_frame() -> None:
    facts = scanned(saved(picture(), "JPEG") + saved(picture(size=(200, 20)), "JPEG"))
    assert facts == Facts("jpeg", "image/jpeg", 200, 43, 1)
    assert scanned(moving("MPO")).frames == 1


def test_a_jpeg_may_have_fillings_between_its_segments() -> None:
    data = saved(picture(), "JPEG")
    assert scanned(data[:2] + b"\xff" * 5000 + data[2:]).flaw == ""
    assert scanned(data[:20] + b"\0" + data[20:]).flaw_rule == "format"


def test_a_zip_with_a_long_comment_is_whole() -> None:
    data = zipped(("a.txt", b"text"))
    assert scanned(data[:-2] + b"\xff\xff" + bytes(65_535)).flaw == ""
    assert scanned(data[:-2] + b"\xff\xff" + bytes(65_536)).flaw_rule == "complete"
