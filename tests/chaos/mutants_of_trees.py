"""Builds without a guard of trees: how long their jobs are kept, who answers them, and what goes into the logs above."""

from __future__ import annotations

from tests.chaos.mutants import Mutant

RETENTION = "tests/integration/store/test_tree_retention.py"
SIGNALS = "tests/integration/store/test_signals.py"
TREES = "tests/integration/store/test_trees.py"

#: Shown on a real Valkey.
TREE_MUTANTS = [
    Mutant(
        "retries of a root when its steps expire",
        "store/scripts/lib_burial.lua",
        "    root = r[4]\n",
        "    root = nil\n",
        f"{RETENTION}::test_finished_steps_live_as_long_as_the_retry_that_has_taken_them_over",
    ),
    Mutant(
        "retries of a root when its steps are read",
        "store/scripts/lib_trees.lua",
        "    while root and not theirs(record(root), false) do root = redis.call('HGET', record(root), 'retried_by') end\n    over",
        "    if not theirs(record(root), false) then root = nil end\n    over",
        f"{RETENTION}::test_finished_steps_live_as_long_as_the_retry_that_has_taken_them_over",
    ),
    Mutant(
        "tombstones as long as what leads from them",
        "store/scripts/lib_ends.lua",
        "return redis.call('PERSIST', k) end",
        "return end",
        f"{RETENTION}::test_finished_steps_live_as_long_as_the_retry_that_has_taken_them_over",
    ),
    Mutant(
        "the root of what is read",
        "store/scripts/lib_trees.lua",
        "    over = not root\n",
        "    over = false\n",
        f"{RETENTION}::test_with_its_root_each_child_is_gone_at_once_and_a_chore_erases_them",
    ),
    Mutant(
        "end of what is erased",
        "store/scripts/bury.lua",
        "if TERMINAL[r[1]] then",
        "if true then",
        f"{RETENTION}::test_what_still_runs_when_its_root_goes_is_stopped_and_then_erased",
    ),
    Mutant(
        "way to a step that was made anew",
        "store/scripts/bury.lua",
        "      child = before\n",
        "      child = nil\n",
        f"{RETENTION}::test_a_child_that_was_made_anew_leads_to_the_one_before_it",
    ),
    Mutant(
        "journal of a step that is made anew",
        "store/scripts/ask.lua",
        "if before then take_over(",
        "if false then take_over(",
        f"{RETENTION}::test_what_a_failed_step_had_finished_is_not_paid_again_by_the_one_made_anew[a caller]",
    ),
    Mutant(
        "whose an open step is after a retry",
        "store/scripts/ask.lua",
        "if c[2] == parent and (of == epoch or c[1] ~= 'canceling') then return true end",
        "if true then return true end",
        f"{RETENTION}::test_what_was_open_when_the_first_ended_is_stopped_with_it_and_made_anew",
    ),
    Mutant(
        "deadline of a wait when it is answered",
        "store/scripts/signal.lua",
        "if not TERMINAL[r[4]] then close_timers(id, k, now(), epoch) end",
        "",
        f"{SIGNALS}::test_one_that_comes_after_the_time_of_its_wait_is_refused_for_good",
    ),
    Mutant(
        "first value of a signal",
        "store/scripts/signal.lua",
        "if known and string.sub(known, 1, 1) ~= '!' then",
        "if known == value then",
        f"{SIGNALS}::test_an_answer_counts_once_and_the_same_again_is_the_same",
    ),
    Mutant(
        "wake-up by a signal",
        "store/scripts/signal.lua",
        "step_ended(id, 's:' .. name)",
        "",
        f"{SIGNALS}::test_an_answer_wakes_the_parent_that_waits_and_the_one_that_sleeps",
    ),
    Mutant(
        "links that stream",
        "store/scripts/append.lua",
        "outputs = p[4] and outputs\n",
        "outputs = redis.call('HGET', own_k, 'parent') and outputs\n",
        f"{TREES}::test_it_goes_on_to_the_parent_above_if_that_link_streams[False]",
    ),
    Mutant(
        "end of the log above",
        "store/scripts/append.lua",
        "until not p[2] or p[1]\n",
        "until not p[2]\n",
        f"{TREES}::test_nothing_stands_behind_the_end_of_a_log",
    ),
]
