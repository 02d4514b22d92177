"""Builds without a guard of claims: what tells them apart, who holds a lease, whom suspects run with, who a worker is."""

from __future__ import annotations

from tests.chaos.mutants import Mutant

SUSPECTS = "tests/integration/store/test_suspects.py"
IDENTITIES = "tests/integration/store/test_identities.py"
FENCE = "tests/integration/store/test_fence.py"
LEASES = "tests/unit/worker/test_leases.py"

#: A script, and where it asks whether the claim still has the job: in the mutant it asks by the number of the attempt alone.
_ASKS = [
    ("heartbeat", "has_claim(k, ARGV[i + 1])", "has_claim(k, {})", "ARGV[i + 1]", "k"),
    ("append", "has_claim(k, fence)", "has_claim(k, {})", "fence", "k"),
    ("finish", "owned(r[3], r[14], r[6], fence)", "owned(r[3], r[14], r[6], {})", "fence", "k"),
    ("retry_later", "owns(k, fence)", "owns(k, {})", "fence", "k"),
    ("hand_back", "has_claim(k, ARGV[2])", "has_claim(k, {})", "ARGV[2]", "k"),
    ("let_go", "has_claim(k, fence)", "has_claim(k, {})", "fence", "k"),
    ("journal", "has_claim(k, fence)", "has_claim(k, {})", "fence", "k"),
    *[
        (script, "has_claim(k, ARGV[2])", "has_claim(k, {})", "ARGV[2]", "k")
        for script in ("ask", "resume", "drop", "forget_signal", "history")
    ],
]
_NO_NONCE = [
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
CLAIM_MUTANTS = [
    *_NO_NONCE,
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
        "        self._has_lost(earlier)\n",
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
        "has_claim(record(job), fence))",
        "has_claim(record(job), string.match(fence, '^[^/]*') .. '/' .. redis.call('HGET', record(job), 'nonce')))",
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
]
