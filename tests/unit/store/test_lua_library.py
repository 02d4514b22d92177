"""What of the library stands in front of a script."""

from __future__ import annotations

import json
import re

import pytest

from longrun.queues.celery.tickets import ticket_template
from longrun.store.scripts import load_scripts, parse_library, with_library

LIBRARY = parse_library("""-- About it.
local P = 'p:'
local A, B = 1, 2
-- Names one() in a comment only.
local function one() return B end

local function two(id)
  local three = one()
  return three
end
local function four() return P end
""")


def test_a_script_gets_what_it_names_and_what_that_names_in_the_order_of_the_library() -> None:
    assert with_library(LIBRARY, "return two('x')\n") == (
        "local A, B = 1, 2\nlocal function one() return B end\n\nlocal function two(id)\n  local three = one()\n  return three\nend\n"
        "return two('x')\n"
    )


def test_what_only_a_comment_names_is_left_out() -> None:
    assert with_library(LIBRARY, "-- As four() does.\nreturn 1\n") == "return 1\n"


def test_what_only_a_string_names_is_left_out() -> None:
    assert with_library(LIBRARY, "return 'four', 'it\\'s two'\n") == "return 'four', 'it\\'s two'\n"


def test_a_name_inside_a_longer_one_does_not_count() -> None:
    assert with_library(LIBRARY, "return fourteen, my_two\n") == "return fourteen, my_two\n"


RARELY = parse_library("""local clock
local function now()
  clock = clock or 1
  return clock
end
local function plain() return 2 end
local function deep() return now() + plain() end
local function child_ended(id)
  return deep()
end
""")


def test_what_only_a_rare_function_names_is_made_inside_it_and_what_others_name_too_is_not() -> None:
    assert with_library(RARELY, "return plain() or child_ended('x')\n") == (
        "local clock\nlocal function plain() return 2 end\nlocal function child_ended(id)\n"
        "local function now()\n  clock = clock or 1\n  return clock\nend\nlocal function deep() return now() + plain() end\n"
        "  return deep()\nend\nreturn plain() or child_ended('x')\n"
    ), "a value stands outside: all who name it have the same one"


@pytest.mark.parametrize("name", ["claim", "finish", "read", "append", "submit", "heartbeat"])
def test_the_scripts_of_plain_jobs_make_no_function_that_only_steps_need(name: str) -> None:
    made = set(
        re.findall(
            r"^local function (\w+)",
            load_scripts("p:", ticket_template())[name].source.decode().split("\nlocal function child_ended")[0],
            re.M,
        )
    )
    assert made.isdisjoint({"wake_up", "enqueue", "step_ended", "take_over", "keeper"})


def test_the_scripts_are_put_together_once_for_all_stores_of_a_process() -> None:
    assert load_scripts("p:", ticket_template()) is load_scripts("p:", ticket_template())


@pytest.mark.parametrize("name", ["submit", "claim", "finish", "heartbeat"])
def test_the_scripts_that_run_for_every_job_do_not_carry_what_only_others_use(name: str) -> None:
    source = load_scripts("p:", ticket_template())[name].source.decode()
    assert "local function erase" not in source
    assert "@" not in source


def test_a_ticket_is_written_into_the_script_as_its_pieces() -> None:
    source = load_scripts("p:", '{"it\'s":"@ID@","line":"a\\nb@LANE@"}')["submit"].source.decode()
    assert """return '{"it\\'s":"' .. id .. '","line":"a\\\\nb' .. lane .. '"}' end""" in source


def test_every_placeholder_of_a_ticket_is_a_parameter() -> None:
    source = load_scripts("p:", ticket_template())["submit"].source.decode()
    found = re.search(r"local function ticket\((.*?)\) return (.*) end\n", source)
    assert found is not None
    values = {"id": "job_1", "model": "m", "lane": "q.m", "level": "4"}
    pieces = [piece.strip("'") if piece.startswith("'") else values[piece] for piece in found[2].split(" .. ")]
    assert found[1].split(", ") == list(values)
    assert json.loads("".join(pieces))["headers"]["id"] == "job_1"
