"""Builds without a guard of steps: no wake-up is lost, nobody is charged for waiting, nothing is paid twice, what nobody can join stops."""

from __future__ import annotations

from tests.chaos.mutants import Mutant

STEPS = "tests/integration/store/test_steps.py"
LANES = "tests/integration/store/test_step_lanes.py"
WORLD = "tests/integration/store/test_step_world.py"
_GOES_ON = f"{STEPS}::test_a_parent_goes_on_when_its_last_step_has_ended_whenever_that_is"

#: Shown on a real Valkey.
STEP_MUTANTS = [
    Mutant(
        "look at what has ended when a parent is let go",
        "store/scripts/lib_ends.lua",
        "if not has_come(id, t, w) then return 'asleep' end",
        "if true then return 'asleep' end",
        f"{STEPS}::test_one_that_is_let_go_when_its_step_has_ended_is_queued",
    ),
    Mutant(
        "look at what has ended before a parent waits",
        "store/scripts/ask.lua",
        "if need > 0 and open and now_ended < wake_at and",
        "if need > 0 and open and",
        f"{_GOES_ON}[before]",
    ),
    Mutant(
        "end of a step in the list of its parent",
        "store/scripts/lib_steps.lua",
        "redis.call('RPUSH', ends_of(parent), key)\n",
        "redis.call('LLEN', ends_of(parent))\n",
        f"{_GOES_ON}[while it waits]",
    ),
    Mutant(
        "end of a step wakes the parent that sleeps",
        "store/scripts/lib_steps.lua",
        "  elseif p[1] == 'asleep' then\n    wake_up(parent, pk)\n",
        "",
        f"{STEPS}::test_one_that_was_let_go_goes_on_where_it_was",
    ),
    Mutant(
        "waiting parent writes nothing",
        "store/scripts/lib_ends.lua",
        "nonce == fence and (status == 'running' or status == 'canceling')",
        "nonce == fence and (status == 'running' or status == 'waiting' or status == 'canceling')",
        f"{_GOES_ON}[while it waits]",
    ),
    Mutant(
        "status before the code goes on",
        "store/scripts/lib_steps.lua",
        "  redis.call('HSET', k, 'status', 'running')\n  redis.call('HDEL', k, 'wake_at', 'until')",
        "  redis.call('HDEL', k, 'wake_at', 'until')",
        f"{STEPS}::test_nobody_is_blamed_for_a_worker_that_dies_while_its_parents_wait[report_lost]",
    ),
    Mutant(
        "nobody is blamed for waiting",
        "store/scripts/lib_ends.lua",
        "  if status == 'waiting' then return sleep_on(id, k, t, attempt, r[3]) end\n",
        "",
        f"{STEPS}::test_nobody_is_blamed_for_a_worker_that_dies_while_its_parents_wait[report_lost]",
    ),
    Mutant(
        "journal of what was made",
        "store/scripts/ask.lua",
        "  redis.call('HSET', journal, unpack(entries))\n",
        "",
        f"{STEPS}::test_a_step_that_is_asked_for_again_is_the_same_job_whoever_asks_and_however_often",
    ),
    Mutant(
        "successes kept by a retry",
        "store/scripts/ask.lua",
        "return c[1] == 'succeeded' or of == epoch",
        "return of == epoch",
        f"{STEPS}::test_a_retry_of_the_parent_does_again_what_had_failed_and_nothing_else",
    ),
    Mutant(
        "what a step that failed had finished itself",
        "store/scripts/ask.lua",
        "if before then take_over(before, id, again == tonumber(epoch)) end",
        "",
        f"{STEPS}::test_a_step_that_is_made_anew_keeps_what_it_had_finished",
    ),
    Mutant(
        "open steps of the job that was retried",
        "store/scripts/ask.lua",
        "if c[2] == parent and (of == epoch or c[1] ~= 'canceling') then return true end",
        "if true then return true end",
        f"{STEPS}::test_an_open_child_of_the_job_that_was_retried_is_nobody_elses",
    ),
    Mutant(
        "end of what still runs of the job that was retried",
        "store/scripts/ask.lua",
        "record(child), 'status')] then still_stops = true end",
        "record(child), 'status')] then still_stops = false end",
        f"{STEPS}::test_a_retry_waits_for_the_end_of_what_still_runs_of_the_failed_job[succeeded]",
    ),
    Mutant(
        "all that a step is below",
        "store/scripts/lib_steps.lua",
        "    id = r[2]\n  end\n  return false",
        "    id = nil\n  end\n  return false",
        f"{LANES}::test_a_step_of_a_tree_that_is_over_further_up_does_not_begin_and_asks_for_none[finished]",
    ),
    Mutant(
        "once means once",
        "store/scripts/journal.lua",
        "  return new ~= 'b' and of == epoch and rest == attempt\n",
        "  return true\n",
        f"{STEPS}::test_what_is_done_once_is_begun_once_and_a_person_may_have_it_done_again",
    ),
    Mutant(
        "losers of a race stop",
        "store/scripts/journal.lua",
        "ours and #ARGV or 0 do",
        "0 do",
        f"{STEPS}::test_the_losers_of_a_race_stop_in_the_script_that_journals_the_winner",
    ),
    Mutant(
        "only the winner's writer stops losers",
        "store/scripts/journal.lua",
        "ours and #ARGV or 0 do",
        "#ARGV do",
        f"{STEPS}::test_the_losers_of_a_race_stop_in_the_script_that_journals_the_winner",
    ),
    Mutant(
        "open steps of a parent that ends",
        "store/scripts/lib_steps.lua",
        "  if tonumber(kids) > redis.call('LLEN', ends_of(id)) then redis.call('ZADD', P .. 'reap', int(t), id) end\n",
        "",
        f"{LANES}::test_whatever_ends_a_parent_ends_its_open_steps[succeeded]",
    ),
    Mutant(
        "nothing begins that nobody can join",
        "store/scripts/claim.lua",
        "if late or flow and flow.is_over() then",
        "if late then",
        f"{LANES}::test_a_step_that_nobody_can_join_does_not_begin",
    ),
    Mutant(
        "no step from the cancel on",
        "store/scripts/ask.lua",
        "if r[15] and cannot_be_joined(r[15]) then return {0, status} end\n",
        "",
        f"{LANES}::test_from_the_cancel_on_no_step_of_the_tree_is_made",
    ),
    Mutant(
        "jobs of a tree",
        "store/scripts/ask.lua",
        "if tonumber(u[2] or 0) + jobs > most then",
        "if false then",
        f"{STEPS}::test_a_tree_has_so_many_jobs_whoever_of_it_asks",
    ),
    Mutant(
        "depth of a tree",
        "store/scripts/ask.lua",
        "if depth > deepest then",
        "if false then",
        f"{STEPS}::test_steps_of_steps_are_so_deep",
    ),
    Mutant(
        "budget of a tree",
        "store/scripts/ask.lua",
        "if n >= limit then",
        "if false then",
        f"{STEPS}::test_a_budget_is_for_all_that_the_tree_has_used",
    ),
    Mutant(
        "tickets before steps of a younger root",
        "store/scripts/pop.lua",
        "if not place or tonumber(place) < tonumber(first[2]) then first = {} end",
        "",
        f"{LANES}::test_a_step_stands_where_its_root_would[100]",
    ),
    Mutant(
        "steps before tickets of a younger job",
        "store/scripts/pop.lua",
        "if not place or tonumber(place) < tonumber(first[2]) then first = {} end",
        "first = {}",
        f"{LANES}::test_a_step_stands_where_its_root_would[1]",
    ),
    Mutant(
        "place of a step that was popped and not claimed",
        "store/scripts/lib_lanes.lua",
        "    push_tree(id, r[9], r[3] .. '.' .. r[2], place_in_tree(r[4], r[6] or r[7], r[8]))\n",
        "",
        f"{LANES}::test_a_step_that_was_popped_and_not_claimed_is_pushed_again_where_it_was",
    ),
    Mutant(
        "steps are no evidence of lost tickets",
        "store/scripts/claim.lua",
        "if not (r[13] or r[6] or flow) then",
        "if not (r[13] or r[6]) then",
        f"{LANES}::test_a_step_that_was_claimed_does_not_say_that_a_ticket_is_lost",
    ),
    Mutant(
        "steps have no tickets that could be lost",
        "store/scripts/overtaken.lua",
        "and not r[6] and not r[7] and",
        "and not r[6] and",
        f"{LANES}::test_a_step_is_not_taken_for_overtaken",
    ),
    Mutant(
        "format of the data",
        "store/scripts/ask.lua",
        "if FORMAT < 2 then return {-2} end\n",
        "",
        f"{STEPS}::test_data_of_before_there_were_steps_take_none",
    ),
    Mutant(
        "files of the tenant alone",
        "store/scripts/ask.lua",
        "if not theirs(file(each), tenant) then",
        "if false then",
        f"{STEPS}::test_no_step_gets_a_file_that_is_not_there_or_another_tenants",
    ),
    Mutant(
        "a wait that was over is over",
        "store/scripts/lib_steps.lua",
        "redis.call('HSETNX', journal_of(id), 'v:' .. string.sub(key, 3), '!' .. epoch)",
        "redis.call('TIME')",
        f"{STEPS}::test_a_wait_that_is_over_has_failed_for_good_in_this_epoch",
    ),
]
