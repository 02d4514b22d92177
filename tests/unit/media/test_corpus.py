"""Every upload that attacks is answered by the rule it breaks, whole or in pieces, and early where that can be."""

from __future__ import annotations

import pytest
from tests.corpus import CASES, Case

from longrun.media.rules import Broken, judge
from longrun.media.scan import Scanner

PIECE = 1000


def uploaded(case: Case) -> tuple[Broken | None, int]:
    """What the door says, and how many bytes it has read by then."""
    scanner, size = Scanner(), 0
    for start in range(0, len(case.data), PIECE):
        piece = case.data[start : start + PIECE]
        size += len(piece)
        found = judge(case.rule, scanner.feed(piece), size, case.filename, final=False)
        if found is not None:
            return found, size
    return judge(case.rule, scanner.close(), size, case.filename, final=True), size


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_upload_breaks_the_rule_it_should(case: Case) -> None:
    scanner = Scanner()
    scanner.feed(case.data)
    found = judge(case.rule, scanner.close(), len(case.data), case.filename, final=True)
    assert (found.rule if found else None) == case.broken, found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_upload_in_pieces_is_judged_the_same(case: Case) -> None:
    found, size = uploaded(case)
    assert (found.rule if found else None) == case.broken, found
    if case.early and len(case.data) > 100 * PIECE:
        assert size < len(case.data) / 2


@pytest.mark.parametrize("case", [case for case in CASES if case.early], ids=lambda case: case.name)
def test_what_can_be_known_early_is_said_before_the_end(case: Case) -> None:
    scanner = Scanner()
    found = judge(case.rule, scanner.feed(case.data), len(case.data), case.filename, final=False)
    assert found is not None and found.rule == case.broken


def test_sentences_name_the_limit() -> None:
    said = {case.name: uploaded(case)[0] for case in CASES}
    huge, many, svg = said["PNG of 50,000 × 50,000"], said["GIF of 100,000 frames"], said["SVG renamed .png"]
    assert huge == Broken("max_pixels", "It is 50,000 × 50,000 pixels; at most 50,000,000 are allowed here (max_pixels).", 50_000_000)
    assert many is not None and many.limit == 1_000 and "at most 1,000 are allowed here (max_frames)" in many.detail
    assert svg is not None and svg.detail.startswith("SVG is never taken as an image, because it can hold scripts; send PNG, JPEG,")
    for found in said.values():
        assert found is None or (found.detail.endswith(".") and found.detail[0].isupper() and "\n" not in found.detail)


def test_the_attack_of_many_frames_is_stopped_after_the_frames_that_are_allowed() -> None:
    case = next(case for case in CASES if case.name == "GIF of 100,000 frames")
    _, size = uploaded(case)
    assert size < 1_100 * 16 + PIECE
