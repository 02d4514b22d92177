"""Which formats this version can work on, and which one it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

import longrun
from longrun.queues.celery.tickets import ticket_template
from longrun.store.formats import FORMAT, OLDEST, known, nearest
from longrun.store.presence import Answer
from longrun.store.scripts import load_scripts, parse_library

FOLDER = Path(longrun.__file__).parent / "store" / "scripts"


@pytest.mark.parametrize("format", [str(number) for number in range(OLDEST, FORMAT + 1)])
def test_every_format_since_the_oldest_is_known_and_written_as_it_is(format: str) -> None:
    assert known(format) and nearest(format) == int(format)
    assert not Answer(int(format), 0).foreign


@pytest.mark.parametrize(("format", "written"), [("0", OLDEST), (str(FORMAT + 1), FORMAT), ("", FORMAT), ("two", FORMAT), ("²", FORMAT)])
def test_any_other_is_not_and_nothing_fails_by_it(format: str, written: int) -> None:
    assert not known(format) and nearest(format) == written


@pytest.mark.parametrize("format", [FORMAT + 1, OLDEST - 1 or -1])
def test_data_of_any_other_are_to_be_left(format: int) -> None:
    assert Answer(format, 0).foreign


def test_data_that_do_not_say_what_they_are_are_not_left() -> None:
    assert not Answer(0, 0).foreign


def test_a_script_knows_the_format_that_it_was_loaded_for() -> None:
    loaded = [load_scripts("p:", ticket_template(), format) for format in (OLDEST, FORMAT)]
    assert all(b"@FORMAT@" not in script.source for scripts in loaded for script in scripts.values())
    definitions = [definition for definition in parse_library((FOLDER / "lib.lua").read_text()) if "FORMAT" in definition.defined]
    assert [definition.text for definition in definitions] == ["local FORMAT = @FORMAT@\n"]
