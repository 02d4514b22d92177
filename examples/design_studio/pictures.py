"""Pictures made by plain code: a height map becomes a relief, and a relief becomes a logo with a name on it. PNG files in and out."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFilter, ImageFont

from .domain import PALETTES, Style

SIDE = 768  #: pixels of a finished logo, both ways
NAME_BOX = (48, 604, 720, 708)  #: where the name is: left, top, right, bottom
_MARK_BOX = (154, 72, 614, 532)
_FINE = 4  # shapes are drawn this much larger and made smaller again, for smooth edges
_SMOOTH = np.array([1, 4, 6, 4, 1]) / 16
RGB = tuple[int, int, int]


def as_png(picture: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    held = io.BytesIO()
    picture.save(held, "PNG")
    return held.getvalue()


def from_png(data: bytes) -> Image.Image:
    """The picture in a PNG file, RGB."""
    with Image.open(io.BytesIO(data), formats=["PNG"]) as opened:
        return opened.convert("RGB")


def colours_of(palette: str) -> list[RGB]:
    """Red, green and blue from 0 to 255 of each colour of a palette, the darkest first."""
    return [ImageColor.getrgb(name)[:3] for name in PALETTES[palette][1]]


def relief(heights: NDArray[np.float32], palette: str) -> Image.Image:
    """A height map (rows x columns, any range) coloured by height and shaded as if light came from the upper left."""
    smooth = np.asarray(heights, "float64")
    for axis in (0, 1):
        smooth = np.apply_along_axis(lambda line: np.convolve(np.pad(line, 2, "edge"), _SMOOTH, "valid"), axis, smooth)
    smooth = (smooth - smooth.min()) / (np.ptp(smooth) + 1e-6)
    down, right = np.gradient(smooth * 30)
    shade = (1 - (down + right) * 0.5).clip(0.4, 1.35)
    stops = np.array(colours_of(palette), float)
    at = smooth * (len(stops) - 1)
    below = at.astype(int).clip(0, len(stops) - 2)
    part = (at - below)[..., None]
    colours = stops[below] * (1 - part) + stops[below + 1] * part
    return Image.fromarray((colours * shade[..., None]).clip(0, 255).astype("uint8"))


def brand(data: bytes, name: str, style: Style, version: int) -> bytes:
    """A logo: the picture inside the mark of that version, the name in spaced capitals below. Every other version is on a dark ground."""
    colours = colours_of(style.palette)
    dark, light = _mixed(colours[0], (0, 0, 0), 0.25), _mixed(colours[-1], (255, 255, 255), 0.6)
    ground, ink = (dark, light) if version % 2 else (light, dark)
    logo = Image.new("RGB", (SIDE, SIDE), ground)
    left, top, right, bottom = _MARK_BOX
    size = (right - left, bottom - top)
    logo.paste(from_png(data).resize(size, Image.Resampling.LANCZOS), (left, top), shape(style.marks[version % len(style.marks)], size[0]))
    _write(ImageDraw.Draw(logo), name.upper(), ink)
    return as_png(logo)


def shape(mark: str, side: int) -> Image.Image:
    """A mask of that mark, `side` pixels both ways, with rounded corners: white inside, black outside."""
    full = side * _FINE
    mask = Image.new("L", (full, full))
    draw = ImageDraw.Draw(mask)
    if mark == "circle":
        draw.ellipse(_box(full, 0.03, 0.03, 0.97, 0.97), fill=255)
    elif mark == "drop":
        draw.ellipse(_box(full, 0.16, 0.3, 0.84, 0.98), fill=255)
        draw.polygon(_corners(full, "0.5 0.02  0.781 0.448  0.219 0.448"), fill=255)
    elif mark == "shield":
        draw.rectangle(_box(full, 0.1, 0.04, 0.9, 0.46), fill=255)
        draw.pieslice(_box(full, 0.1, -0.06, 0.9, 0.98), 0, 180, fill=255)
    elif mark == "leaf":  # where two discs meet
        other = mask.copy()
        draw.ellipse(_box(full, -0.8, -0.8, 0.96, 0.96), fill=255)
        ImageDraw.Draw(other).ellipse(_box(full, 0.04, 0.04, 1.8, 1.8), fill=255)
        mask = ImageChops.darker(mask, other)
    elif mark == "peak":
        draw.polygon(_corners(full, "0.02 0.88  0.4 0.12  0.58 0.46  0.68 0.3  0.98 0.88"), fill=255)
    else:
        draw.polygon(_corners(full, "0.5 0.02  0.916 0.26  0.916 0.74  0.5 0.98  0.084 0.74  0.084 0.26"), fill=255)
    rounded = mask.filter(ImageFilter.GaussianBlur(full / 60)).point(lambda value: 255 if value > 127 else 0)
    return rounded.reduce(_FINE)


def _box(full: int, *edges: float) -> tuple[float, float, float, float]:
    left, top, right, bottom = (edge * full for edge in edges)
    return left, top, right, bottom


def _corners(full: int, numbers: str) -> list[float]:
    return [float(number) * full for number in numbers.split()]


def _mixed(one: RGB, other: RGB, part: float) -> RGB:
    red, green, blue = (round(a * (1 - part) + b * part) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _write(draw: ImageDraw.ImageDraw, text: str, ink: RGB) -> None:
    """As large as the box allows, and each letter a little apart from the next."""
    left, top, right, bottom = NAME_BOX
    size = bottom - top - 32
    while True:
        font = ImageFont.load_default(size=size)
        gap = size * 0.14
        widths = [draw.textlength(letter, font=font) for letter in text]
        width = sum(widths) + gap * (len(text) - 1)
        if width <= right - left or size <= 16:
            break
        size -= 2
    x, middle = (left + right - width) / 2, (top + bottom) / 2
    for letter, each in zip(text, widths, strict=True):
        draw.text((x, middle), letter, font=font, fill=ink, anchor="lm")
        x += each + gap
