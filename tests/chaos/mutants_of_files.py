"""Builds without a guard of files: who needs them, whose they are, and what becomes of their bytes."""

from __future__ import annotations

from tests.chaos.mutants import Mutant

FILES = "tests/integration/store/test_files.py"
JOB_FILES = "tests/integration/store/test_job_files.py"
UPLOADS = "tests/integration/api/test_uploads_are_owned.py"
FILE_CHORES = "tests/integration/chores/test_files.py"
FILE_UPLOADS = "tests/chaos/test_file_uploads.py"
FILE_OUTPUTS = "tests/chaos/test_file_outputs.py"

#: Shown on a real Valkey.
FILE_MUTANTS = [
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
        "what is in the trash is the trash's to remove",
        "store/scripts/needed_files.lua",
        " or redis.call('ZSCORE', P .. 'trash', key)",
        "",
        f"{FILES}::test_what_is_named_needed_in_use_or_in_the_trash_is_not_to_be_swept",
    ),
    Mutant(
        "files of the attempt that runs now",
        "store/scripts/needed_files.lua",
        " or (job and has_claim(record(job), fence))",
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
]
