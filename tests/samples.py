"""Real files, made by the libraries that make such files."""

from __future__ import annotations

import io
import struct
import wave
import zipfile
import zlib
from typing import Any

import PIL.Image
import PIL.PngImagePlugin


def noise(width: int = 40, height: int = 30, mode: str = "RGB") -> PIL.Image.Image:
    """A picture that does not compress to nothing."""
    return PIL.Image.effect_noise((width, height), 80).convert(mode)


def saved(image: PIL.Image.Image, format: str, **options: Any) -> bytes:
    """The bytes of a picture."""
    held = io.BytesIO()
    image.save(held, format, **options)
    return held.getvalue()


def exif() -> PIL.Image.Exif:
    """What a camera writes."""
    made = PIL.Image.Exif()
    made[0x0112], made[0x010F], made[0x9286] = 6, "Camera", "a comment"
    return made


def text_chunks(**texts: str) -> PIL.PngImagePlugin.PngInfo:
    """Notes of a PNG."""
    info = PIL.PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    return info


XMP = b'<?xpacket begin="" id="W5M0"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF/></x:xmpmeta><?xpacket end="w"?>'


def pictures() -> dict[str, tuple[str, bytes, int]]:
    """By a name that says what it is: the format, the bytes, the number of pictures. All are 40 × 30."""
    one, many = noise(), [noise() for _ in range(3)]
    found = {f"png-{mode}": ("png", saved(noise(mode=mode), "PNG"), 1) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")}
    found |= {
        "png-notes": ("png", saved(one, "PNG", pnginfo=text_chunks(Title="a cat", Software="x"), exif=exif(), dpi=(300, 300)), 1),
        "png-animated": ("png", saved(one, "PNG", save_all=True, append_images=many, duration=50), 4),
        "jpeg": ("jpeg", saved(one, "JPEG"), 1),
        "jpeg-L": ("jpeg", saved(noise(mode="L"), "JPEG"), 1),
        "jpeg-CMYK": ("jpeg", saved(one.convert("CMYK"), "JPEG"), 1),
        "jpeg-progressive": ("jpeg", saved(one, "JPEG", progressive=True), 1),
        "jpeg-restarts": ("jpeg", saved(one, "JPEG", restart_marker_blocks=1), 1),
        "jpeg-notes": ("jpeg", saved(one, "JPEG", exif=exif(), comment=b"hello", xmp=XMP), 1),
        "jpeg-two": ("jpeg", saved(one, "MPO", save_all=True, append_images=many[:1]), 1),
        "jpeg-film": ("jpeg", saved(one, "JPEG") + b"\0\0\0\x18ftypmp42" + bytes(500), 1),
        "jpeg-padded": ("jpeg", saved(one, "JPEG") + bytes(100), 1),
        "gif": ("gif", saved(one, "GIF"), 1),
        "gif-animated": ("gif", saved(one, "GIF", save_all=True, append_images=many, loop=0, comment=b"hi"), 4),
        "webp": ("webp", saved(one, "WEBP"), 1),
        "webp-lossless": ("webp", saved(one, "WEBP", lossless=True, exif=exif(), xmp=XMP), 1),
        "webp-alpha": ("webp", saved(noise(mode="RGBA"), "WEBP"), 1),
        "webp-animated": ("webp", saved(one, "WEBP", save_all=True, append_images=many), 4),
        "bmp": ("bmp", saved(one, "BMP"), 1),
        "bmp-L": ("bmp", saved(noise(mode="L"), "BMP"), 1),
        "bmp-1": ("bmp", saved(noise(mode="1"), "BMP"), 1),
        "tiff": ("tiff", saved(one, "TIFF"), 1),
        "tiff-lzw": ("tiff", saved(one, "TIFF", compression="tiff_lzw"), 1),
        "tiff-pages": ("tiff", saved(noise(), "TIFF", save_all=True, append_images=[noise() for _ in range(3)]), 4),
    }
    return found


def wav(seconds: float = 0.1) -> bytes:
    """A sound."""
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(int(16_000 * seconds) * 2))
    return held.getvalue()


def ogg(pages: int = 3) -> bytes:
    """Pages of nothing; the last one says so."""
    made = b""
    for number in range(pages):
        kind = 2 if number == 0 else 4 if number == pages - 1 else 0
        made += struct.pack("<4sBBqIIIB", b"OggS", 0, kind, 0, 1, number, 0, 2) + bytes([200, 100]) + bytes(300)
    return made


def sounds() -> dict[str, tuple[str, bytes]]:
    """By a name that says what it is: the format, the bytes."""
    return {
        "wav": ("wav", wav()),
        "wav-piped": ("wav", wav()[:4] + b"\xff" * 4 + wav()[8:40] + b"\xff" * 4 + wav()[44:]),
        "flac": ("flac", b"fLaC\x80\0\0\x22" + bytes(34) + b"\xff\xf8" + bytes(100)),
        "mp3": ("mp3", b"\xff\xfb\x90\x00" + bytes(413)),
        "mp3-tagged": ("mp3", b"ID3\x04\0\0\0\0\x02\x01" + bytes(257) + b"\xff\xfb\x90\x00" + bytes(413)),
        "ogg": ("ogg", ogg()),
        "m4a": (
            "m4a",
            struct.pack(">I4s4sI", 16, b"ftyp", b"M4A ", 0)
            + struct.pack(">I4s", 16, b"moov")
            + bytes(8)
            + struct.pack(">I4s", 108, b"mdat")
            + bytes(100),
        ),
        "webm": ("webm", b"\x1aE\xdf\xa3" + bytes(100)),
    }


def archive(**files: bytes) -> bytes:
    """A zip."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as made:
        for name, data in files.items():
            made.writestr(name, data)
    return held.getvalue()


PDF = b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int, *more: bytes) -> bytes:
    """A PNG that says how large it is, and little else."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
