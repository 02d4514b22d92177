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


LAZY = parse_library("""local P = 'p:'
local function near() return P end
local function far() return near() end
local function farther() return far() end
local function seldom(id) -- lazy
  return farther() .. near()
end
""")


def test_what_only_a_lazy_definition_needs_is_made_inside_it() -> None:
    assert with_library(LAZY, "return seldom(near())\n") == (
        "local P = 'p:'\nlocal function near() return P end\nlocal function seldom(id)\nlocal function far() return near() end\n"
        "local function farther() return far() end\n  return farther() .. near()\nend\nreturn seldom(near())\n"
    )


def test_the_end_of_a_plain_job_makes_no_functions_of_trees() -> None:
    scripts = load_scripts("p:", ticket_template())
    for name, lazy in (("finish", "end_in_tree"), ("claim", "flow_of"), ("heartbeat", "has_come")):
        before, _, _ = scripts[name].source.decode().partition(f"local function {lazy}(")
        assert "\nlocal function ends_of(" not in before and "\nlocal function stop(" not in before
