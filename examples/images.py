"""Pictures in, pictures out, with Pillow alone: `longrun serve examples/images.py`.

`python examples/images.py sample.jpg` writes a picture to try them with.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, Field

from longrun import Image, Limits, Model

if TYPE_CHECKING:
    from PIL.Image import Image as Pillow

#: Limits that are checked before there is a job. Few cameras make pictures of more than 24 million pixels.
Picture = Annotated[
    Image,
    Limits(max_bytes=20_000_000, formats=("png", "jpeg", "webp"), max_pixels=24_000_000, max_frames=1),
    Field(description="A picture."),
]
Side = Annotated[int, Field(ge=1, le=4096, description="Pixels.")]
#: EXIF's number of the orientation: which way up the camera was held.
_ORIENTATION = 0x0112


class Thumbnail(Model, timeout=60):
    """Make a picture smaller, upright and without its metadata, such as the place where it was taken."""

    def predict(
        self,
        image: Picture,
        width: Side = 256,
        height: Side = 256,
        fit: Annotated[
            Literal["inside", "cover"], Field(description="Keep all of the picture, or fill the box and cut off the rest.")
        ] = "inside",
        format: Literal["jpeg", "png", "webp"] = "jpeg",
    ) -> Image:
        from PIL import ImageOps

        picture = image.pil("RGB" if format == "jpeg" else None)
        if fit == "cover":
            picture = ImageOps.fit(picture, (width, height))
        else:
            picture.thumbnail((width, height))  # never larger than it was
        return Image(picture, format=format, name=f"{Path(image.name).stem or 'picture'}-{picture.width}x{picture.height}.{format}")


class Description(BaseModel):
    """What a picture is, upright: as people see it."""

    format: str
    width: int
    height: int
    mode: Annotated[str, Field(description="Pillow's word for the kind of its pixels, such as RGB or L.")]
    orientation: Annotated[
        int, Field(description="As EXIF counts it, of the file as it was sent: 1 = upright, 6 and 8 = lying on its side.")
    ]
    mean_colour: Annotated[str, Field(description="Such as #ff8800.")]


class Describe(Model, timeout=60):
    """Tell a picture's size, format, orientation and mean colour."""

    def predict(self, image: Picture) -> Description:
        from PIL import ImageStat

        picture = image.pil()
        mean = [round(value) for value in ImageStat.Stat(picture.convert("RGB")).mean]
        return Description(
            format=image.format,
            width=picture.width,
            height=picture.height,
            mode=picture.mode,
            orientation=orientation(image),
            mean_colour="#{:02x}{:02x}{:02x}".format(*mean),
        )


class Watermark(Model, timeout=60):
    """Write a line of text into the lower right corner of a picture."""

    def predict(
        self,
        image: Picture,
        text: Annotated[str, Field(min_length=1, max_length=60)],
        opacity: Annotated[float, Field(gt=0, le=1)] = 0.6,
    ) -> Image:
        from PIL import Image as Pillow
        from PIL import ImageDraw, ImageFont

        picture = image.pil("RGBA")
        margin = max(2, picture.width // 50)
        font = ImageFont.load_default(size=max(8, picture.width // 20))
        layer = Pillow.new("RGBA", picture.size, (255, 255, 255, 0))
        at = (picture.width - margin, picture.height - margin)
        ink, edge = (255, 255, 255, round(255 * opacity)), (0, 0, 0, round(255 * opacity))
        ImageDraw.Draw(layer).text(at, text, font=font, anchor="rs", fill=ink, stroke_width=max(1, margin // 6), stroke_fill=edge)
        return Image(Pillow.alpha_composite(picture, layer).convert("RGB"), format="jpeg", name="watermarked.jpeg")


def orientation(image: Image) -> int:
    """How the camera was held, by the file's EXIF; 1 when it does not say. `Image.pil()` has turned the picture upright already."""
    from PIL import Image as Pillow

    with image.open() as file, Pillow.open(file, formats=["PNG", "JPEG", "WEBP"]) as opened:
        return int(opened.getexif().get(_ORIENTATION, 1))


def sample(width: int = 640, height: int = 480) -> Pillow:
    """A picture to try the models with: a sun over the sea."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    picture = Pillow.new("RGB", (width, height), "#8ecae6")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, height * 3 // 5, width, height), fill="#023047")
    draw.circle((width * 2 // 3, height * 2 // 5), height // 6, fill="#ffb703")
    return picture


if __name__ == "__main__":
    sample().save(sys.argv[1] if len(sys.argv) > 1 else "sample.jpg")
