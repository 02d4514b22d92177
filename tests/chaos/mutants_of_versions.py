"""Guards of the formats that the data may have, each to be removed: see `mutants.py`."""

from __future__ import annotations

from tests.chaos.mutants import Mutant

PRESENCE = "tests/integration/store/test_presence.py"
SCRIPT = "store/scripts/announce_process.lua"

VERSION_MUTANTS = [
    Mutant(
        "a process that cannot work on the newer format",
        SCRIPT,
        "if entry then target = math.min(target, cjson.decode(entry).formats[2]) end",
        "",
        f"{PRESENCE}::test_a_process_that_cannot_work_on_it_keeps_it_until_it_leaves",
    ),
    Mutant(
        "a worker of 0.1.0",
        SCRIPT,
        "target = math.min(target, worker.format or 1)",
        "target = target",
        f"{PRESENCE}::test_a_worker_of_0_1_0_keeps_it_until_it_leaves",
    ),
    Mutant(
        "an API of 0.1.0",
        SCRIPT,
        "if silent_apis() > 0 then target = math.min(target, 1) end",
        "",
        f"{PRESENCE}::test_an_api_of_0_1_0_which_announces_nothing_is_counted_by_what_it_listens_to",
    ),
    Mutant(
        "leases of quiet before a raise",
        SCRIPT,
        "elseif t - since >= quiet then",
        "else",
        f"{PRESENCE}::test_nobody_may_have_stood_in_the_way_for_some_leases",
    ),
    Mutant(
        "quiet that begins anew when somebody stands in the way",
        SCRIPT,
        "if r[2] then redis.call('HDEL', about, 'quiet') end",
        "",
        f"{PRESENCE}::test_nobody_may_have_stood_in_the_way_for_some_leases",
    ),
    Mutant(
        "name of a hidden worker of 0.1.0",
        SCRIPT,
        "redis.call('ZADD', outdated, int(t), worker.name or each)",
        "",
        f"{PRESENCE}::test_a_worker_of_0_1_0_that_was_hidden_finds_that_its_name_is_taken_and_newer_ones_do_not",
    ),
    Mutant(
        "name of a worker that is there",
        SCRIPT,
        "'PX', DAY, 'NX')",
        "'PX', DAY)",
        f"{PRESENCE}::test_the_name_of_a_worker_that_is_there_stays_its_own",
    ),
    Mutant(
        "the format of the data as a connection finds it",
        "store/connection.py",
        '        self.format = nearest(found.decode(errors="replace"))\n',
        "        self.format = FORMAT\n",
        f"{PRESENCE}::test_a_store_writes_the_format_that_the_data_have_from_its_first_script_on",
    ),
    Mutant(
        "scripts of a format that was raised",
        "store/connection.py",
        "        self.format, self.scripts = format, scripts\n",
        "        self.format = format\n",
        f"{PRESENCE}::test_scripts_are_loaded_again_when_the_format_was_raised_and_calls_under_way_get_the_new_ones",
    ),
    Mutant(
        "leaving data of a format that is not known",
        "service/presence.py",
        "if answer.foreign:",
        "if answer.foreign and False:",
        f"{PRESENCE}::test_a_process_that_does_not_know_the_format_leaves_and_is_not_counted_any_more",
    ),
]
