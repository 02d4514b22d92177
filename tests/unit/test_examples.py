"""The examples: their models as plain Python, and the parts of the demo that decide something."""

import asyncio
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from examples import demo
from PIL import Image as Pillow
from PIL import ImageChops

from longrun import Failure, Image, Job
from longrun.models import isolated_registry

with isolated_registry() as registry:  # the names of its models must not meet those of other tests
    from examples import hello, images


def test_the_demo_ranks_pairs_by_direction_not_by_length() -> None:
    pairs = demo.ranked_pairs([[1, 0], [0, 1], [9, 1]])
    assert [(i, j) for _, i, j in pairs] == [(0, 2), (1, 2), (0, 1)]
    assert pairs[0][0] == pytest.approx(9 / 82**0.5)
    assert pairs[-1][0] == 0


def test_the_demo_refuses_another_nearest_pair(capsys: pytest.CaptureFixture[str]) -> None:
    times = {"usage": {"queue_s": 1.0, "wait_s": 0.25, "run_s": 0.25}}
    axes = [[float(i == j) for j in range(len(demo.SENTENCES))] for i in range(len(demo.SENTENCES))]
    vectors = list(axes)
    vectors[demo.NEAREST[1]] = vectors[demo.NEAREST[0]]
    demo.report([demo.Outcome(text, 1, times, vector) for text, vector in zip(demo.SENTENCES, vectors, strict=True)])
    assert "1.250   0.250" in capsys.readouterr().out
    vectors[demo.NEAREST[1]], vectors[4] = axes[demo.NEAREST[1]], axes[5]
    with pytest.raises(demo.DemoError, match=r"\(4, 5\) came out nearest"):
        demo.report([demo.Outcome(text, 1, times, vector) for text, vector in zip(demo.SENTENCES, vectors, strict=True)])


def test_the_demo_finds_processes_below_a_process_and_no_others() -> None:
    assert demo.descendants({2: 1, 3: 2, 4: 3, 5: 1, 1: 0, 6: 5}, 2) == {3, 4}


def test_the_demo_sees_living_processes_of_this_machine() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert demo.process_table()[child.pid] == os.getpid()
    child.communicate(b"\n")
    assert child.pid not in demo.process_table()


def test_shout_is_a_plain_function() -> None:
    assert hello.shout("hello", marks=2) == "HELLO!!"


def test_brew_says_how_far_it_is() -> None:
    seen = []
    job = Job(emit=lambda kind, data: seen.append((kind, data["fraction"])))
    assert asyncio.run(hello.brew("tea", job, seconds=0)) == {"cup": "tea"}
    assert seen == [("progress", fraction) for fraction in (0, 0.25, 0.5, 0.75, 1)]


async def test_count_streams_every_number() -> None:
    assert [number async for number in hello.count(3, pause=0)] == [1, 2, 3]


def test_tell_streams_the_text_and_where_it_was_told() -> None:
    tell = hello.Tell()
    tell.load("cpu")
    assert "".join(tell.predict("once upon a time", Job())) == "once upon a time (told on cpu)"


def test_a_square_root_that_fails_leaves_its_neighbours_alone() -> None:
    good, bad = hello.SquareRoot().predict([hello.Number(value=9), hello.Number(value=-1)])
    assert good == {"root": 3, "together": 2}
    assert isinstance(bad, Failure)


def file_of(picture: Pillow.Image, format: str, orientation: int | None = None) -> Image:
    """A picture as a file, as a caller sends it."""
    exif = Pillow.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    held = io.BytesIO()
    picture.save(held, format, exif=exif)
    return Image(held.getvalue(), name=f"beach.{format}")


def test_a_thumbnail_fits_into_its_box_and_has_a_name_that_says_so() -> None:
    small = images.Thumbnail().predict(file_of(images.sample(640, 480), "png"), width=100, height=100)
    assert (small.pil().size, small.format, small.name) == ((100, 75), "jpeg", "beach-100x75.jpeg")
    assert images.Thumbnail().predict(file_of(images.sample(20, 10), "png"), format="png").pil().size == (20, 10)
    assert images.Thumbnail().predict(file_of(images.sample(640, 480), "jpeg"), width=50, height=80, fit="cover").pil().size == (50, 80)


def test_a_thumbnail_of_a_picture_that_lies_on_its_side_is_upright_and_says_nothing_of_its_camera() -> None:
    sent = file_of(images.sample(640, 480), "jpeg", orientation=6)
    small = images.Thumbnail().predict(sent, width=64, height=64)
    with small.open() as file, Pillow.open(file) as opened:
        assert opened.size == (48, 64)
        assert dict(opened.getexif()) == {}


def test_a_picture_is_described_as_people_see_it() -> None:
    grey = images.Describe().predict(file_of(Pillow.new("L", (30, 20), 128), "jpeg", orientation=8))
    assert (grey.width, grey.height, grey.orientation, grey.mode, grey.mean_colour) == (20, 30, 8, "L", "#808080")
    assert images.Describe().predict(file_of(Pillow.new("RGB", (3, 2), "#ff8800"), "png")).mean_colour == "#ff8800"


def test_a_watermark_changes_only_the_corner_that_it_is_written_in() -> None:
    marked = images.Watermark().predict(file_of(Pillow.new("RGB", (400, 300), "#336699"), "png"), text="(c) me").pil()
    left, top, right, bottom = (
        ImageChops.difference(marked, Pillow.new("RGB", (400, 300), "#336699")).point(lambda v: v > 40 and 255).getbbox()
    )
    assert (left > 200, top > 250, right <= 400, bottom <= 300) == (True, True, True, True)


def test_the_sample_is_written_by_the_example_itself(tmp_path: Path) -> None:
    subprocess.run([sys.executable, images.__file__, str(tmp_path / "sample.jpg")], check=True)
    with Pillow.open(tmp_path / "sample.jpg") as written:
        assert (written.format, written.size) == ("JPEG", (640, 480))


def test_the_schemas_say_what_the_images_may_be() -> None:
    for spec in registry:
        if spec.name in ("thumbnail", "describe", "watermark"):
            allowed = spec.input.json_schema()["properties"]["image"]["x-longrun-file"]
            assert (allowed["kind"], list(allowed["formats"]), allowed["max_bytes"]) == ("image", ["png", "jpeg", "webp"], 20_000_000), (
                spec.name
            )
