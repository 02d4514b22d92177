"""Real files pass whole and in any pieces; cut and changed ones are refused or harmless; nothing makes the scanner raise or hold much."""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.corpus import CASES
from tests.media_files import EVERYTHING, GIF_FRAME, PICTURES, gif_of, jpeg_with, pages, picture, png_chunk, png_head, saved

from longrun.media.facts import Facts
from longrun.media.rules import FileRule, judge
from longrun.media.scan import Scanner
from longrun.media.source import HELD

#: Their sounds have no end of their own, or their last pieces do not matter.
OPEN_ENDED = {"mp3", "mp3 with a tag", "flac", "flac with a tag", "webm to a pipe", "wav to a pipe", "gzip", "ogg"}
#: What follows these images may be cut.
WITH_TRAILERS = {"mpo", "motion photo", "samsung", "jpeg with padding"}
ATTACKS = {case.name: case.data for case in CASES if len(case.data) < 20_000}
BYTES = {name: data for name, (_, data) in EVERYTHING.items()} | ATTACKS


def scanned(pieces: Iterable[bytes]) -> Facts:
    scanner = Scanner()
    for piece in pieces:
        scanner.feed(piece)
    return scanner.close()


def cut(data: bytes, lengths: Iterator[int]) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        length = next(lengths)
        yield data[start : start + length]
        start += length


def held(scanner: Scanner) -> int:
    """Bytes that wait for more."""
    source = scanner._source
    return len(source.data) - source.at


@pytest.mark.parametrize("name", EVERYTHING)
def test_a_real_file_is_what_it_is_and_has_no_flaw(name: str) -> None:
    kind, data = EVERYTHING[name]
    facts = scanned([data])
    assert (facts.format, facts.flaw) == (kind, "")


@pytest.mark.parametrize("name", PICTURES)
def test_sizes_and_frames_are_those_that_a_decoder_finds(name: str) -> None:
    data = PICTURES[name][1]
    facts = scanned([data])
    with Image.open(io.BytesIO(data)) as image:
        assert (facts.width, facts.height) == image.size
    # the further pictures that cameras put behind a JPEG are passed over
    assert facts.frames == (1 if name == "mpo" else pages(data))


@pytest.mark.parametrize("name", PICTURES)
def test_the_size_is_known_long_before_the_end_unless_it_stands_there(name: str) -> None:
    data = PICTURES[name][1]
    scanner = Scanner()
    facts = scanner.feed(data[: data.index(b"\xff\xda") if data.startswith(b"\xff\xd8") else 100])
    assert facts.width or name.startswith(("tiff", "bigtiff"))


@pytest.mark.parametrize("name", BYTES)
def test_single_bytes_say_the_same_as_the_whole(name: str) -> None:
    data = BYTES[name][:20_000]
    assert scanned(data[at : at + 1] for at in range(len(data))) == scanned([data])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(BYTES)), st.randoms(use_true_random=False))
def test_pieces_of_any_size_say_the_same_as_the_whole(name: str, chance: random.Random) -> None:
    data = changed(BYTES[name], chance) if chance.random() < 0.5 else BYTES[name]
    sizes = iter(lambda: chance.choice((1, 2, 3, 7, 50, 1000, 5000)), 0)
    assert scanned(cut(data, sizes)) == scanned([data])


@pytest.mark.parametrize("name", [name for name in EVERYTHING if name not in OPEN_ENDED | WITH_TRAILERS])
def test_a_file_that_is_cut_anywhere_is_refused(name: str) -> None:
    kind, data = EVERYTHING[name]
    cuts = {1, 5, 9, 13, 33, 60, len(data) - 1, len(data) - 2, len(data) - 9, *range(64, len(data), max(1, len(data) // 150))}
    passed = []
    for length in sorted(at for at in cuts if 0 < at < len(data)):
        facts = scanned([data[:length]])
        if judge(FileRule(formats=(kind,)), facts, length, final=True) is None:
            passed.append(length)
    # the end of a PDF may lack its line end; a TIFF may end in bytes that nothing points to
    assert all(length >= len(data) - 2 for length in passed), passed


@pytest.mark.parametrize("name", sorted(WITH_TRAILERS))
def test_a_jpeg_that_is_cut_before_its_end_is_refused(name: str) -> None:
    data = EVERYTHING[name][1]
    end = data.index(b"\xff\xd9") + 1
    assert all(scanned([data[:length]]).flaw_rule == "complete" for length in range(12, end, 40))


@pytest.mark.parametrize("name", sorted(OPEN_ENDED - {"ogg", "gzip"}))
def test_sound_that_is_cut_has_no_flaw_beyond_its_first_frames(name: str) -> None:
    kind, data = EVERYTHING[name]
    assert scanned([data[:-1]]) == Facts(kind, scanned([data]).media_type)


def changed(data: bytes, chance: random.Random) -> bytes:
    """The file with bits turned, parts doubled, left out or put elsewhere."""
    made = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        if not made:
            break
        at, length = chance.randrange(len(made)), chance.randint(1, 40)
        match chance.randrange(5):
            case 0:
                made[at] ^= 1 << chance.randrange(8)
            case 1:
                made[at : at + length] = chance.randbytes(length)
            case 2:
                del made[at : at + length]
            case 3:
                made[at:at] = made[at : at + length]
            case _:
                made[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\1"))
    return bytes(made)


@pytest.mark.parametrize("name", BYTES)
def test_changed_files_never_raise_and_are_never_held(name: str) -> None:
    chance = random.Random(name)
    for _ in range(40):
        data = changed(BYTES[name], chance)
        scanner = Scanner()
        for piece in cut(data, iter(lambda: chance.choice((1, 100, 3000)), 0)):
            scanner.feed(piece)
            assert held(scanner) <= HELD
        facts = scanner.close()
        assert bool(facts.flaw) == bool(facts.flaw_rule)
        assert Facts.from_json(facts.to_json()) == facts


@given(st.binary(max_size=300))
def test_noise_never_raises(data: bytes) -> None:
    assert scanned([data]) == scanned(data[at : at + 1] for at in range(len(data)))


@given(st.sampled_from([data[:40] for data in BYTES.values()]), st.binary(max_size=200))
def test_noise_after_a_known_start_never_raises(start: bytes, data: bytes) -> None:
    assert scanned([start + data]) == scanned((start + data)[at : at + 1] for at in range(len(start + data)))


def test_a_scanner_that_is_fed_nothing_knows_nothing() -> None:
    scanner = Scanner()
    assert scanner.feed(b"") == Facts() == scanner.close()
    assert scanner.close() == Facts() == scanner.feed(b"more")


def test_what_is_known_of_frames_grows_while_they_pass() -> None:
    scanner = Scanner()
    scanner.feed(gif_of(0)[:-1])
    assert [scanner.feed(GIF_FRAME).frames for _ in range(5)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "endless",
    [
        gif_of(0)[:-1] + b"!\xfe",
        png_head(9, 9) + b"\x7f\xff\xff\xffIDAT",
        saved(picture(), "JPEG")[:-2],
        b"RIFF\xff\xff\xff\xffWAVE",
        b"ID3\3\0\0\x7f\x7f\x7f\x7f",
        b"PK\3\4",
        b"%PDF-1.7",
        b"II*\0\xff\xff\xff\xff",
        b"\0\0\0\x08ftyp",
        b"text ",
    ],
    ids=lambda start: repr(start[:6]),
)
@pytest.mark.parametrize("filling", [b"\xff", b"\1", b" ", b"a"])
def test_files_without_an_end_are_not_held(endless: bytes, filling: bytes) -> None:
    scanner = Scanner()
    scanner.feed(endless)
    for _ in range(50):
        scanner.feed(filling * 70_000)
        assert held(scanner) <= HELD
        assert len(scanner._watch._text) + len(scanner._watch._raw) <= 64


def test_a_photo_with_its_camera_data_passes_every_rule_of_images() -> None:
    kind, data = EVERYTHING["jpeg with everything"]
    assert kind == "jpeg" and judge(FileRule("image"), scanned([data]), len(data), "IMG_0001.JPG", final=True) is None


def test_something_hidden_is_found_wherever_pieces_are_cut() -> None:
    data = jpeg_with(b"<!DOCTYPE  html>" + b"x" * 50)
    start = data.index(b"<!DOC")
    for at in range(start - 2, start + 20):
        assert scanned([data[:at], data[at:]]).flaw_rule == "polyglot"


def test_padding_behind_an_image_is_nothing() -> None:
    for name in ("png RGB", "gif RGB", "webp RGB", "jpeg RGB", "bmp RGB"):
        assert scanned([PICTURES[name][1] + b"\0\0\r\n"]).flaw == ""
        assert scanned([PICTURES[name][1] + b"\0\0x"]).flaw_rule == "polyglot"


def test_chunks_that_nobody_knows_pass() -> None:
    data = PICTURES["png RGB"][1]
    assert scanned([data[:33] + png_chunk(b"prIv", b"anything") + data[33:]]).flaw == ""
