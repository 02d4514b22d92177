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
FILES = "tests/integration/store/test_files.py"
SUSPECTS = "tests/integration/store/test_suspects.py"
JOB_FILES = "tests/integration/store/test_job_files.py"
TENANTS = "tests/integration/store/test_tenants.py"
IDENTITIES = "tests/integration/store/test_identities.py"
LOSSES = "tests/integration/store/test_losses.py"
DEADLINES = "tests/integration/store/test_deadlines.py"
UPLOADS = "tests/integration/api/test_uploads_are_owned.py"
FENCE = "tests/integration/store/test_fence.py"
LEASES = "tests/unit/worker/test_leases.py"
FILE_CHORES = "tests/integration/chores/test_files.py"
FILE_UPLOADS = "tests/chaos/test_file_uploads.py"
FILE_OUTPUTS = "tests/chaos/test_file_outputs.py"
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

#: A script, and where it asks whether the claim still has the job: in the mutant it asks by the number of the attempt alone.
_ASKS = [
    ("heartbeat", "owns(record(ARGV[i]), ARGV[i + 1])", "owns(record(ARGV[i]), {})", "ARGV[i + 1]", "record(ARGV[i])"),
    ("append", "owns(k, fence)", "owns(k, {})", "fence", "k"),
    ("finish", "owned(r[3], r[14], r[6], fence)", "owned(r[3], r[14], r[6], {})", "fence", "k"),
    ("retry_later", "owns(k, fence)", "owns(k, {})", "fence", "k"),
    ("hand_back", "owns(k, ARGV[2])", "owns(k, {})", "ARGV[2]", "k"),
]
NO_NONCE = [
    Mutant(
        f"nonce in the fence of {script}",
        f"store/scripts/{script}.lua",
        text,
        instead.format(f"string.match({fence}, '^[^/]*') .. '/' .. (redis.call('HGET', {key}, 'nonce') or '')"),
        f"{FENCE}::test_of_two_claims_with_one_number_the_forgotten_one_writes_nothing[{script}]",
    )
    for script, text, instead, fence, key in _ASKS
]

#: Shown on a real Valkey.
STORE_MUTANTS = [
    *NO_NONCE,
    Mutant(
        "nonce of the attempt that has ended",
        "store/scripts/lib_ends.lua",
        "attempt .. '/' .. (cjson.decode(r[1]).nonce or '') ~= fence then",
        "false then",
        f"{FENCE}::test_an_end_that_comes_after_that_of_the_other_claim_is_stale_and_not_the_same_one_sent_twice[finish-finish]",
    ),
    Mutant(
        "nonce in the ids of messages",
        "store/scripts/lib.lua",
        "(nonce and nonce .. ' ' or '')",
        "''",
        f"{FENCE}::test_what_two_claims_have_to_say_are_two_messages_and_what_one_says_again_is_one[finish]",
    ),
    Mutant(
        "nonce in the fence of deliveries",
        "store/scripts/settle_delivery.lua",
        " or r[6] ~= nonce then",
        " then",
        f"{FENCE}::test_of_two_claims_of_a_delivery_with_one_number_the_forgotten_one_settles_nothing",
    ),
    Mutant(
        "earlier run of a job that was claimed again",
        "worker/leases.py",
        "            self._has_lost(earlier)\n",
        "",
        f"{LEASES}::test_a_claim_of_a_job_that_runs_here_says_that_the_earlier_run_has_lost_it",
    ),
    Mutant(
        "tickets of one job in one claim",
        "worker/leases.py",
        "if earlier.fence == run.fence:",
        "if False:",
        f"{LEASES}::test_a_claim_of_a_job_that_runs_here_says_that_the_earlier_run_has_lost_it",
    ),
    Mutant(
        "the run that a heartbeat was for",
        "worker/leases.py",
        "if self.tables.runs.get(run.id) is not run or run.settled:",
        "if (run := self.tables.runs[run.id]).settled:",
        f"{LEASES}::test_the_answer_to_a_heartbeat_is_not_for_a_run_that_was_claimed_after_it",
    ),
    Mutant(
        "nonce in the keys of files that are swept",
        "store/scripts/needed_files.lua",
        "owns(record(job), fence))",
        "owns(record(job), string.match(fence, '^[^/]*') .. '/' .. redis.call('HGET', record(job), 'nonce')))",
        f"{FENCE}::test_the_files_of_a_forgotten_claim_are_swept_while_the_other_one_runs",
    ),
    Mutant(
        "identity of the worker that has a job",
        "store/scripts/claim.lua",
        "'worker', ARGV[2], 'nonce'",
        "'worker', ARGV[3], 'nonce'",
        f"{IDENTITIES}::test_a_report_of_a_death_takes_no_job_of_another_worker_of_the_same_name",
    ),
    Mutant(
        "one live worker of a name",
        "store/scripts/announce.lua",
        "if tonumber(until_) > now() then",
        "if false then",
        f"{IDENTITIES}::test_of_many_that_start_at_once_with_one_name_exactly_one_gets_it",
    ),
    Mutant(
        "end of a worker whose name was taken over",
        "store/scripts/announce.lua",
        "  forget(other)\n",
        "",
        f"{IDENTITIES}::test_a_worker_whose_name_was_taken_over_cannot_get_it_back_or_end_the_other[1]",
    ),
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
        "bytes kept while a job needs them",
        "store/scripts/lib_ends.lua",
        "if not needed(id) then drop_file(id, t, tombstone) end\nend",
        "drop_file(id, t, tombstone)\nend",
        f"{FILES}::test_the_bytes_of_a_deleted_file_stay_until_the_last_job_that_needs_them_is_gone",
    ),
    Mutant(
        "the other jobs that need a file of an erased one",
        "store/scripts/lib_ends.lua",
        "and not needed(id) then drop_file(id, t, tombstone) end\n  end",
        "then drop_file(id, t, tombstone) end\n  end",
        f"{FILES}::test_an_embedded_file_goes_with_the_last_job_that_needs_it",
    ),
    Mutant(
        "files that are there when a job is accepted",
        "store/scripts/submit.lua",
        "if not theirs(file(each), tenant) then",
        "if false then",
        f"{FILES}::test_a_job_is_not_stored_when_one_of_its_files_is_not_there",
    ),
    Mutant(
        "keys that a runner may make its own",
        "store/scripts/append.lua",
        "ref.key ~= id .. '/' .. fence .. '/' .. ref.id or",
        "false or",
        f"{JOB_FILES}::test_a_runner_cannot_make_the_bytes_of_another_tenant_its_own",
    ),
    Mutant(
        "fence of what a runner tells of files",
        "store/scripts/append.lua",
        "if not mine then return {0} end",
        "",
        f"{JOB_FILES}::test_a_stale_attempt_registers_no_file",
    ),
    Mutant(
        "suspects wait for a runner of their own",
        "store/scripts/claim.lua",
        "if r[6] and groups ~= '*' and",
        "if false and",
        f"{SUSPECTS}::test_a_suspect_has_no_ticket_and_is_taken_by_those_who_have_a_runner_for_its_group",
    ),
    Mutant(
        "one worker for each group of suspects",
        "store/scripts/suspects.lua",
        "held[group] = holder == ARGV[1] or (not holder and (loose or room > 0))",
        "held[group] = true",
        f"{SUSPECTS}::test_a_group_is_held_by_one_worker_as_long_as_it_asks",
    ),
    Mutant(
        "nobody fails for those beside it in a lost worker",
        "store/scripts/lib_ends.lua",
        "if r[2] and at_its_last(id, r[1]) then",
        "if false then",
        f"{SUSPECTS}::test_it_does_not_when_others_run_there_before_it_with_it_or_after_it",
    ),
    Mutant(
        "each attempt's own count of files",
        "store/scripts/claim.lua",
        ", 'repushed', 'made')",
        ", 'repushed')",
        f"{JOB_FILES}::test_an_attempt_makes_a_thousand_files_and_an_output_at_most_whatever_was_given_or_made_before",
    ),
    Mutant(
        "second look of a sweep",
        "blobs/sweep.py",
        "    async for orphans in _orphans(suspects, is_referenced):",
        "    for orphans in [suspects]:",
        f"{FILE_CHORES}::test_a_file_whose_record_comes_between_the_looks_stays",
    ),
    Mutant(
        "owner of the files that are swept",
        "chores/blob_removal.py",
        "        if not await self._is_ours():\n            return Swept(0, 0.0)\n",
        "",
        f"{FILE_CHORES}::test_the_files_of_another_store_are_no_orphans",
    ),
    Mutant(
        "files that are recorded in time",
        "service/file_records.py",
        "if time.monotonic() - since > _RECORDED_WITHIN:",
        "if False:",
        f"{FILE_UPLOADS}::test_an_api_that_stands_still_before_it_notes_a_file_does_not_accept_a_job_without_it[file]",
    ),
    Mutant(
        "files of a request that makes no job",
        "service/uploads.py",
        "if self._owned and not is_away:",
        "if False:",
        f"{UPLOADS}::test_a_failure_leaves_nothing[send_form]",
    ),
    Mutant(
        "patience with a blob store that is away",
        "worker/runner/job_files.py",
        "_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)",
        "_PAUSES = ()",
        f"{FILE_OUTPUTS}::test_a_blob_store_that_is_away_for_five_seconds_costs_no_work",
    ),
    Mutant(
        "keys and the store's URL, kept from models",
        "worker/supervise/process.py",
        "{**runner_environment(os.environ), **env}",
        "{**os.environ, **env}",
        f"{GIVEN}::test_no_model_finds_a_key_or_the_store[environment]",
    ),
    Mutant(
        "what is in the trash is the trash's to remove",
        "store/scripts/needed_files.lua",
        " or redis.call('ZSCORE', P .. 'trash', key)",
        "",
        f"{FILES}::test_what_is_named_needed_in_use_or_in_the_trash_is_not_to_be_swept",
    ),
    Mutant(
        "files of the attempt that runs now",
        "store/scripts/needed_files.lua",
        " or (job and owns(record(job), fence))",
        "",
        f"{FILES}::test_what_is_named_needed_in_use_or_in_the_trash_is_not_to_be_swept",
    ),
    Mutant(
        "files with a time of their own",
        "store/scripts/lib_ends.lua",
        "if r[1] and (r[2] or not r[3]) and not needed(id)",
        "if r[1] and not needed(id)",
        f"{FILES}::test_a_file_with_a_time_of_its_own_outlives_its_jobs",
    ),
    Mutant(
        "files that a retry needs",
        "store/scripts/resubmit.lua",
        "do files[#files + 1] = each end",
        "do end",
        f"{FILES}::test_a_retry_keeps_the_files_of_the_old_job_alive_also_a_deleted_one",
    ),
    Mutant(
        "files that a new job must not discard",
        "store/scripts/discard_files.lua",
        " and not needed(id) then",
        " then",
        f"{FILES}::test_discarding_forgets_embedded_files_that_no_job_needs_and_nothing_else",
    ),
    Mutant(
        "one tenant's files, hidden from another",
        "store/scripts/read_files.lua",
        "ARGV[2] == '1' and ARGV[1]",
        "false",
        f"{FILES}::test_another_tenants_file_is_an_unknown_one_in_every_way",
    ),
    Mutant(
        "whatever is one tenant's, hidden from another",
        "store/scripts/lib.lua",
        "(tenant and r[1] ~= tenant)",
        "false",
        f"{TENANTS}::test_what_is_another_tenants_is_not_there[read]",
    ),
    Mutant(
        "records whose time is over",
        "store/scripts/lib.lua",
        "(r[3] and tonumber(r[3]) <= now())",
        "false",
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
