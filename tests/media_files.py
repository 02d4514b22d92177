"""Real files: pictures that Pillow wrote, sound and documents of the standard library, and a few put together by hand."""

from __future__ import annotations

import gzip
import io
import struct
import wave
import zipfile
import zlib
from typing import Any

from PIL import Image, ImageSequence, PngImagePlugin

XMP = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" GCamera:MotionPhoto="1"/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
#: What Photoshop on a Mac keeps of a printer; it has a document type, and is not a page.
PLIST = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" '
    b'"http://www.apple.com/DTDs/PropertyList-1.0.dtd"><plist version="1.0"><dict/></plist>'
)


def picture(mode: str = "RGB", size: tuple[int, int] = (61, 43), step: int = 0) -> Image.Image:
    """A picture with some detail in it; another one for each step."""
    grey = Image.radial_gradient("L").rotate(step * 20).resize(size)
    return (
        Image.merge("RGB", (grey, grey.rotate(90), grey.rotate(180))).convert(mode)
        if mode not in {"I;16", "I;16B", "F"}
        else grey.convert(mode)
    )


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a file of this kind."""
    written = io.BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def moving(kind: str, frames: int = 3, **options: Any) -> bytes:
    """Several pictures in one file."""
    pictures = [picture(step=step) for step in range(frames)]
    return saved(pictures[0], kind, save_all=True, append_images=pictures[1:], **options)


def exif(description: str = "A boat.") -> bytes:
    """Camera data with a description."""
    data = Image.Exif()
    data[0x010E], data[0x0110], data[0x0112] = description, "Camera", 6
    return data.tobytes()


def png_with_text(key: str, text: str, packed: bool = False) -> bytes:
    """A PNG with a comment."""
    info = PngImagePlugin.PngInfo()
    info.add_text(key, text, zip=packed)
    return saved(picture(), "PNG", pnginfo=info)


def png_chunk(name: bytes, data: bytes = b"") -> bytes:
    """A chunk with its checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_head(width: int, height: int) -> bytes:
    """A PNG of any size, up to its header."""
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def png_of(*chunks: bytes) -> bytes:
    """A PNG of one pixel, made of these chunks after the header."""
    return png_head(1, 1) + b"".join(chunks) + png_chunk(b"IEND")


PIXEL = png_chunk(b"IDAT", zlib.compress(b"\0\0\0\0"))


def apng_of(frames: int, announced: int | None = None) -> bytes:
    """An APNG of so many frames of one pixel."""
    control = struct.pack(">II", frames if announced is None else announced, 0)
    head = struct.pack(">IIII", 1, 1, 0, 0) + struct.pack(">HHBB", 1, 10, 0, 0)
    parts, number = [png_chunk(b"acTL", control)], 0
    for frame in range(frames):
        parts.append(png_chunk(b"fcTL", struct.pack(">I", number) + head))
        number += 1 if frame == 0 else 2
        parts.append(PIXEL if frame == 0 else png_chunk(b"fdAT", struct.pack(">I", number - 1) + zlib.compress(b"\0\0\0\0")))
    return png_of(*parts)


def gif_of(frames: int) -> bytes:
    """A GIF of so many frames of one pixel."""
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + GIF_FRAME * frames + b";"


GIF_FRAME = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"


def jpeg_with(segment: bytes, marker: int = 0xFE) -> bytes:
    """A JPEG with one more segment; 0xFE is a comment."""
    plain = saved(picture(), "JPEG")
    return plain[:2] + bytes((0xFF, marker)) + struct.pack(">H", len(segment) + 2) + segment + plain[2:]


def tiff_of(*tags: tuple[int, int, int, int], following: int = 0) -> bytes:
    """A TIFF of one directory (tag, type, count, value), and some data."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", following) + bytes(64)


def tiff_tags(samples: int = 1, width: int = 4, height: int = 4) -> list[tuple[int, int, int, int]]:
    """The tags of a small grey picture."""
    return [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (273, 4, 1, 100),
        (277, 3, 1, samples),
        (278, 3, 1, 4),
        (279, 4, 1, 16),
    ]


def backward_tiff() -> bytes:
    """A TIFF of two directories, the second of which stands before the first."""
    one = tiff_of(*tiff_tags())[8:]
    other = tiff_of(*tiff_tags(), following=8)[8:]
    return b"II*\0" + struct.pack("<I", 8 + len(one)) + one + other


def wav(seconds: float = 0.2) -> bytes:
    """Some sound."""
    written = io.BytesIO()
    with wave.open(written, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(range(256)) * int(seconds * 8000 * 2 / 256))
    return written.getvalue()


def mp3(frames: int = 5, title: bytes = b"") -> bytes:
    """Frames of silence (128 kbit/s, 44.1 kHz), with a tag in front if it has a title."""
    body = (b"\xff\xfb\x90\x64" + bytes(413)) * frames
    if not title:
        return body
    frame = b"TIT2" + struct.pack(">I", len(title) + 1) + b"\0\0\0" + title
    return b"ID3\x03\0\0" + bytes((0, 0, len(frame) >> 7, len(frame) & 127)) + frame + body


def flac() -> bytes:
    """A header, a comment and the start of a frame."""
    info = struct.pack(">HH", 4096, 4096) + bytes(6) + b"\x0a\xc4\x42\xf0" + bytes(20)
    return b"fLaC\0\0\0\x22" + info + b"\x84\0\0\x08" + bytes(8) + b"\xff\xf8\xc9\x18\0\xc2" + bytes(200)


def ogg(pages: int = 3) -> bytes:
    """Pages of Opus."""
    bodies = [b"OpusHead" + bytes(11), b"OpusTags" + bytes(8), *(bytes(200) for _ in range(pages - 2))]
    return b"".join(
        b"OggS\0" + bytes((2 if not number else 0,)) + bytes(8) + struct.pack("<III", 1, number, 0) + bytes((1, len(body))) + body
        for number, body in enumerate(bodies)
    )


def box(name: bytes, *inside: bytes) -> bytes:
    """A box of an MP4."""
    data = b"".join(inside)
    return struct.pack(">I", len(data) + 8) + name + data


def mp4(brand: bytes = b"isom", tracks: tuple[bytes, ...] = (b"vide", b"soun")) -> bytes:
    """A film or a piece of sound, with tracks of these kinds."""
    trak = [box(b"trak", box(b"tkhd", bytes(84)), box(b"mdia", box(b"hdlr", bytes(8), kind, bytes(13)))) for kind in tracks]
    return box(b"ftyp", brand, bytes(4), b"isom") + box(b"mdat", bytes(300)) + box(b"moov", box(b"mvhd", bytes(100)), *trak)


def webm(kind: bytes = b"webm", size: int | None = 120) -> bytes:
    """A header and a segment; no size: as a browser records it."""
    head = b"\x42\x86\x81\x01\x42\x82" + bytes((0x80 | len(kind),)) + kind
    length = b"\x01" + b"\xff" * 7 if size is None else bytes((0x40 | size >> 8, size & 0xFF))
    return b"\x1a\x45\xdf\xa3" + bytes((0x80 | len(head),)) + head + b"\x18\x53\x80\x67" + length + bytes(size or 120)


def pdf() -> bytes:
    """An empty page."""
    return saved(picture(), "PDF")


def zipped(*files: tuple[str, bytes]) -> bytes:
    """A ZIP of these files, not packed."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, data in files:
            archive.writestr(name, data)
    return written.getvalue()


def packed(data: bytes = b"text" * 50) -> bytes:
    """A gzip."""
    return gzip.compress(data, mtime=0)


def pages(data: bytes) -> int:
    """How many pictures Pillow finds in a file."""
    with Image.open(io.BytesIO(data)) as image:
        return sum(1 for _ in ImageSequence.Iterator(image))


def _profile() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _bigtiff() -> bytes:
    tiff = saved(picture(), "TIFF", big_tiff=True)
    assert tiff.startswith(b"II+\0")
    return tiff


def _pictures() -> dict[str, tuple[str, bytes]]:
    made: dict[str, tuple[str, bytes]] = {}
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        made[f"png {mode}"] = "png", saved(picture(mode), "PNG")
    for mode in ("L", "RGB", "CMYK"):
        made[f"jpeg {mode}"] = "jpeg", saved(picture(mode), "JPEG")
    for mode in ("1", "L", "P", "RGB"):
        made[f"gif {mode}"] = "gif", saved(picture(mode), "GIF")
        made[f"bmp {mode}"] = "bmp", saved(picture(mode), "BMP")
    for mode in ("L", "RGB", "RGBA"):
        made[f"webp {mode}"] = "webp", saved(picture(mode), "WEBP")
    for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "I;16B", "F"):
        made[f"tiff {mode}"] = "tiff", saved(picture(mode), "TIFF")
    for packing in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg"):
        made[f"tiff {packing}"] = "tiff", saved(picture(), "TIFF", compression=packing)
    return made


def _further() -> dict[str, tuple[str, bytes]]:
    profile, camera, large = _profile(), exif(), picture(size=(700, 500))
    return {
        "png with everything": ("png", saved(picture(), "PNG", exif=camera, icc_profile=profile, dpi=(300, 300))),
        "png with text": ("png", png_with_text("Comment", "Made at the sea.")),
        "png large": ("png", saved(large.effect_spread(40), "PNG")),
        "png interlaced": ("png", INTERLACED),
        "apng": ("png", moving("PNG")),
        "apng with a picture before it": ("png", moving("PNG", default_image=True)),
        "jpeg progressive": ("jpeg", saved(large, "JPEG", progressive=True, quality=90)),
        "jpeg optimized": ("jpeg", saved(large, "JPEG", optimize=True, subsampling=0)),
        "jpeg with restarts": ("jpeg", saved(large, "JPEG", restart_marker_rows=1)),
        "jpeg with everything": ("jpeg", saved(picture(), "JPEG", exif=camera, icc_profile=profile, comment=b"Made at the sea.", xmp=XMP)),
        "jpeg with a plist": ("jpeg", jpeg_with(PLIST, 0xED)),
        "mpo": ("jpeg", moving("MPO")),
        "motion photo": ("jpeg", saved(picture(), "JPEG", xmp=XMP) + mp4(b"mp42")),
        "samsung": ("jpeg", saved(picture(), "JPEG") + b"\0\0\x01\x0a\x0e\0\0\0Image_UTC_Data1487153253213SEFHk\0\0\0SEFT"),
        "jpeg with padding": ("jpeg", saved(picture(), "JPEG") + bytes(500)),
        "gif moving": ("gif", moving("GIF", loop=0, duration=50)),
        "gif with a comment": ("gif", saved(picture("P"), "GIF", comment=b"Made at the sea.")),
        "gif interlaced": ("gif", saved(picture("P"), "GIF", interlace=True)),
        "webp lossless": ("webp", saved(picture("RGBA"), "WEBP", lossless=True)),
        "webp moving": ("webp", moving("WEBP", duration=50)),
        "webp with everything": ("webp", saved(picture(), "WEBP", exif=camera, icc_profile=profile, xmp=XMP)),
        "tiff of pages": ("tiff", moving("TIFF")),
        "tiff of packed pages": ("tiff", moving("TIFF", compression="tiff_lzw")),
        "tiff with everything": ("tiff", saved(picture(), "TIFF", icc_profile=profile, description="A boat.", dpi=(300, 300))),
        "tiff large": ("tiff", saved(large, "TIFF")),
        "tiff large, packed": ("tiff", saved(large, "TIFF", compression="tiff_deflate", tiffinfo={278: 8})),
        "bigtiff": ("tiff", _bigtiff()),
    }


def _sounds() -> dict[str, tuple[str, bytes]]:
    return {
        "wav": ("wav", wav()),
        "wav to a pipe": ("wav", wav()[:4] + b"\xff" * 4 + wav()[8:40] + b"\xff" * 4 + wav()[44:]),
        "flac": ("flac", flac()),
        "flac with a tag": ("flac", mp3(0, b"Sea") + flac()),
        "mp3": ("mp3", mp3()),
        "mp3 with a tag": ("mp3", mp3(title=b"The sea, the sea")),
        "ogg": ("ogg", ogg()),
        "m4a": ("m4a", mp4(b"M4A ", (b"soun",))),
        "m4a of another brand": ("m4a", mp4(b"mp42", (b"soun",))),
        "webm": ("webm", webm()),
        "webm to a pipe": ("webm", webm(size=None)),
    }


def _others() -> dict[str, tuple[str, bytes]]:
    return {
        "mp4": ("mp4", mp4()),
        "matroska": ("mkv", webm(b"matroska")),
        "pdf": ("pdf", pdf()),
        "zip": ("zip", zipped(("a.txt", b"text"))),
        "gzip": ("gzip", packed()),
    }


def _interlaced() -> bytes:
    """Pillow reads such files and does not write them: seven passes of 8 × 8 grey pixels."""
    passes = ((1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4))
    rows = b"".join((b"\0" + bytes(range(width))) * height for width, height in passes)
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND")


INTERLACED = _interlaced()
#: Name: format and bytes.
PICTURES = _pictures() | _further()
SOUNDS = _sounds()
OTHERS = _others()
EVERYTHING = PICTURES | SOUNDS | OTHERS
