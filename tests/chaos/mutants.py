"""Builds of Longrun with one guard removed: a suite that stays green on them proves nothing."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import longrun

SOURCE = Path(longrun.__file__).parent
STORE_TESTS = "tests/integration/store/test_scripts.py"
LOST_TICKETS = "tests/integration/store/test_lost_tickets.py"
WEBHOOKS = "tests/integration/store/test_webhooks.py"
TENANTS = "tests/integration/store/test_tenants.py"
LOSSES = "tests/integration/store/test_losses.py"
DEADLINES = "tests/integration/store/test_deadlines.py"
GIVEN = "tests/integration/worker/test_what_runners_are_given.py"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A guard to remove.

    Args:
        guard: what is missing then.
        file: below the package.
        text: what stands there, exactly once.
        instead: what stands there in the mutant.
        test: the smallest test of the store that must fail, in `STORE_TESTS` or with its own file before `::`; empty when a scenario over
            real processes shows it.
    """

    guard: str
    file: str
    text: str
    instead: str
    test: str = ""


#: Shown with real processes, and judged by their history (`scenarios.py`).
NO_FENCE = Mutant(
    "fence", "store/scripts/lib_ends.lua", "return attempt and nonce and attempt .. '/' .. nonce == fence and (status", "return (status"
)
NO_SWEEP = Mutant("sweep", "chores/run.py", "lambda: _sweep(store)", "lambda: asyncio.sleep(0)")
NO_COMPARE = Mutant("compare-and-set", "store/scripts/claim.lua", "if r[1] ~= 'queued' then return", "if not r[1] then return")


#: Shown on a real Valkey.
STORE_MUTANTS = [
    Mutant(
        "nonce of a claim",
        "store/scripts/claim.lua",
        "r[1] == 'running' and r[2] == nonce",
        "false",
        "test_a_claim_sent_twice_gets_the_same_answer_and_another_worker_gets_none",
    ),
    Mutant(
        "note that a ticket was popped",
        "store/scripts/pop.lua",
        "redis.call('ZADD', P .. 'doubt', unpack(notes))",
        "redis.call('TIME')",
        "test_a_popped_ticket_that_is_not_claimed_is_pushed_again",
    ),
    Mutant(
        "what is left behind wakes",
        "store/scripts/pop.lua",
        "if left > 0 then wake(lane.name) end",
        "",
        "tests/integration/store/test_many_lanes.py::test_tickets_of_several_lanes_are_taken_by_priority_and_in_turn_and_what_is_left_wakes",
    ),
    Mutant(
        "lanes in which no job waits are not looked at",
        "store/scripts/lib.lua",
        "if n == last - first + 1 or redis.call('EXISTS', keys[i]) == 1 then",
        "if true then",
        "tests/integration/store/test_many_lanes.py::test_a_ticket_that_nobody_waits_for_is_taken_by_a_look_at_all_lanes",
    ),
    Mutant(
        "republishing of popped tickets",
        "store/scripts/republish.lua",
        "n = n + push_again(id)",
        "",
        "test_a_popped_ticket_that_is_not_claimed_is_pushed_again",
    ),
    Mutant(
        "refilling of a lane without tickets",
        "store/scripts/refill.lua",
        "ARGV[2] == '1' and",
        "false and",
        "test_a_lane_that_lost_its_tickets_is_refilled",
    ),
    Mutant(
        "idempotent finish",
        "store/scripts/finish.lua",
        "local same = ended and",
        "local same = false and",
        "test_a_finish_sent_twice_changes_nothing_and_says_the_same",
    ),
    Mutant(
        "overtaken tickets",
        "store/scripts/overtaken.lua",
        "if r[1] == 'queued' and",
        "if false and",
        f"{LOST_TICKETS}::test_a_job_is_not_taken_for_overtaken_by_one_that_was_queued_shortly_after_it",
    ),
    Mutant(
        "evidence for overtaken tickets",
        "store/scripts/overtaken.lua",
        "local before, low = mark - ARGV[3]",
        "local before, low = mark + 1e9",
        f"{LOST_TICKETS}::test_a_job_that_was_handed_back_is_not_overtaken_by_those_that_ran_meanwhile",
    ),
    Mutant(
        "outbox",
        "store/scripts/lib_ends.lua",
        "  notify(to, id, k, t, tenant, attempt, nonce, kind, '')",
        "",
        f"{WEBHOOKS}::test_the_end_of_a_job_is_due_for_its_own_webhook_and_for_each_endpoint_that_wants_it",
    ),
    Mutant(
        "job kept until its webhooks have settled",
        "store/scripts/lib_ends.lua",
        "local settled = #to == 0 and tonumber(r[10] or 0) == 0",
        "local settled = true",
        f"{WEBHOOKS}::test_a_job_is_kept_until_its_webhooks_have_settled_and_as_long_as_its_policy_says_from_then",
    ),
    Mutant(
        "fence of deliveries",
        "store/scripts/settle_delivery.lua",
        "if r[1] ~= 'pending' or r[2] ~= try or r[6] ~= nonce then",
        "if false then",
        f"{WEBHOOKS}::test_a_try_whose_process_died_is_followed_by_another_with_the_same_id",
    ),
    Mutant(
        "idempotent word on a delivery",
        "store/scripts/settle_delivery.lua",
        "if r[3] == ARGV[2] then return {1} end",
        "",
        f"{WEBHOOKS}::test_a_word_that_is_sent_twice_has_one_effect",
    ),
    Mutant(
        "idempotent claim of deliveries",
        "store/scripts/claim_deliveries.lua",
        "local ids = redis.call('LRANGE', taken, 0, -1)",
        "local ids = {}",
        f"{WEBHOOKS}::test_a_claim_that_is_sent_twice_counts_one_try_and_another_claim_gets_nothing",
    ),
    Mutant(
        "idempotent submit",
        "store/scripts/submit.lua",
        "if created then return {'new', (redis.call('ZRANK', wait, id) or -1) + 1, created} end",
        "",
        "test_a_submit_sent_twice_makes_one_job_and_one_ticket",
    ),
    Mutant(
        "idempotent append",
        "store/scripts/append.lua",
        "if number >= have then",
        "if true then",
        "test_events_appended_twice_are_stored_once_and_have_dense_numbers",
    ),
    Mutant(
        "binding of the idempotency key",
        "store/scripts/submit.lua",
        "redis.call('SET', bound, id .. ' ' .. ARGV[11])",
        "",
        "test_a_hundred_parallel_submits_with_one_key_make_one_job",
    ),
    Mutant(
        "crash budget",
        "store/scripts/lib_ends.lua",
        "if crashes >= policy.max_crashes then",
        "if false then",
        "test_crashes_are_counted_and_end_in_the_dead_letters",
    ),
    Mutant(
        "at most once",
        "store/scripts/lib_ends.lua",
        "if policy.delivery == 'at_most_once' and mode ~= 'unstarted' then",
        "if false then",
        "test_an_at_most_once_job_is_never_run_again_after_it_started",
    ),
    Mutant(
        "amnesty after an outage",
        "store/scripts/sweep.lua",
        "redis.call('EXISTS', P .. 'amnesty') == 1",
        "false",
        "test_nothing_expires_for_a_lease_after_nobody_swept",
    ),
    Mutant(
        "keys and the store's URL, kept from models",
        "worker/supervise/process.py",
        "{**runner_environment(os.environ), **env}",
        "{**os.environ, **env}",
        f"{GIVEN}::test_no_model_finds_a_key_or_the_store[environment]",
    ),
    Mutant(
        "whatever is one tenant's, hidden from another",
        "store/scripts/lib_trees.lua",
        "(tenant and r[1] ~= tenant)",
        "false",
        f"{TENANTS}::test_what_is_another_tenants_is_not_there[read]",
    ),
    Mutant(
        "records whose time is over",
        "store/scripts/lib_trees.lua",
        "    over = tonumber(over) <= now()\n",
        "    over = false\n",
        f"{TENANTS}::test_what_has_expired_is_gone_before_a_chore_has_run[read]",
    ),
    Mutant(
        "total_timeout of a job that has start_within too",
        "store/scripts/lib.lua",
        "math.min(delay + start * 1000, (total or math.huge) * 1000)",
        "delay + start * 1000",
        f"{DEADLINES}::test_a_job_expires_by_whichever_of_its_limits_ends_first[both-retried]",
    ),
    Mutant(
        "mark of a process that shows that the data are older",
        "store/scripts/mark.lua",
        "if tonumber(n) < confirmed then return 'older' end",
        "",
        f"{LOSSES}::test_a_failover_to_a_replica_that_lags_is_reported_once_by_every_process_with_its_window",
    ),
    Mutant(
        "job accepted since the last mark",
        "store/scripts/mark.lua",
        "redis.call('EXISTS', record(job)) == 0",
        "false",
        f"{LOSSES}::test_what_was_lost_between_two_marks_shows_by_the_job_that_was_accepted_last",
    ),
    Mutant(
        "events that are lost under a claim that was kept",
        "store/scripts/append.lua",
        "if number > have then",
        "if false then",
        f"{LOSSES}::test_a_claim_that_was_replicated_without_its_events_goes_on_with_a_gap_in_their_place_and_all_its_files",
    ),
    Mutant(
        "files that are lost under a claim that was kept",
        "store/scripts/finish.lua",
        "if files ~= '0' and",
        "if false and",
        f"{LOSSES}::test_a_claim_that_was_replicated_without_its_events_goes_on_with_a_gap_in_their_place_and_all_its_files",
    ),
    Mutant(
        "one loss that several processes report",
        "store/scripts/report_loss.lua",
        "if r[1] and tonumber(r[1]) > tonumber(ARGV[4]) then",
        "if false then",
        f"{LOSSES}::test_a_report_that_is_sent_twice_or_by_two_is_one_loss",
    ),
]


def build(mutant: Mutant | None, folder: Path) -> Path:
    """Copy the package into `folder` without the guard (None: as it is); what to put on PYTHONPATH.

    Raises:
        AssertionError: the text of the guard is not in its file exactly once: the mutant has to follow the code.
    """
    shutil.copytree(SOURCE, folder / "longrun", ignore=shutil.ignore_patterns("__pycache__"))
    if mutant is not None:
        file = folder / "longrun" / mutant.file
        source = file.read_text()
        assert source.count(mutant.text) == 1, f"{mutant.file} has {mutant.text!r} {source.count(mutant.text)} times, not once"
        file.write_text(source.replace(mutant.text, mutant.instead))
    return folder
