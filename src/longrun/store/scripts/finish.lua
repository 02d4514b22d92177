-- End an attempt for good. ARGV: id, attempt, succeeded|failed|canceled, output or error JSON, usage JSON of the attempt ('' = none), partial ('1': the output is
-- what the model had when its time was over).
-- Returns {1, status} | {0, status} (stale). Sent twice: the same answer, no second effect.
local id, k, attempt, outcome = ARGV[1], record(ARGV[1]), ARGV[2], ARGV[3]
local mine, status = owns(k, attempt)
if not mine then
  local done = redis.call('HGET', k, 'z:' .. attempt)
  local ended = done and string.match(done, '^%d+ (%a+)')
  local same = ended and (ended == outcome or (ended == 'canceled' and outcome == 'failed')) and TERMINAL[status]
  return {same and 1 or 0, status or 'gone'}
end
if #ARGV[4] <= SMALL then pass_when_full() end
local t, output, err = now(), nil, nil
if outcome == 'succeeded' then output = ARGV[4] else err = ARGV[4] end
-- A success that arrives while canceling counts: the work is paid for. Anything else ends as canceled.
if status == 'canceling' and outcome == 'failed' then
  outcome, err = 'canceled', failure('canceled', 'The job was canceled.', attempt)
end
add_usage(k, attempt, ARGV[5])
if ARGV[6] == '1' then redis.call('HSET', k, 'partial', '1') end
end_attempt(k, attempt, t, outcome, err)
finalize(id, k, t, outcome, output, err)
return {1, outcome}
