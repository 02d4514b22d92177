-- End attempts for good. ARGV, for each: id, fence, succeeded|failed|canceled, output or error JSON, usage JSON of the attempt ('' = none), partial ('1': the
-- output is what the model had when its time was over), how many files the attempt has recorded (0 = not known). At most 100, and one whose JSON is larger than SMALL comes alone.
-- Returns for each {1, status} | {0, status} (stale) | {2, status} (the store has lost some of these files, and nothing was changed) | its error. Sent twice: the same answer, no second effect.
local t = now()

local function finish(id, fence, outcome, data, usage, partial, files)
  local k = record(id)
  local r = before_end(k)
  local mine, status, attempt = owned(r[3], r[14], r[6], fence)
  if not mine then
    local ended = own_end(k, fence)
    local same = ended and (ended == outcome or (ended == 'canceled' and outcome == 'failed')) and TERMINAL[status]
    return {same and 1 or 0, status or 'gone'}
  end
  -- A replica that took over may have received the claim and not the files: the output would name what nobody has.
  if files ~= '0' and tonumber(redis.call('HGET', k, 'made') or 0) < tonumber(files) then return {2, status} end
  local output, err, more = nil, nil, {}
  if outcome == 'succeeded' then output = data else err = data end
  -- A success that arrives while canceling counts: the work is paid for. Anything else ends as canceled.
  if status == 'canceling' and outcome == 'failed' then
    outcome, err = 'canceled', failure('canceled', 'The job was canceled.', attempt)
  end
  if usage ~= '' then more = {'u:' .. attempt, usage, 'usage', sum_of(r[12], usage)} end
  if partial == '1' then more[#more + 1], more[#more + 2] = 'partial', '1' end
  more[#more + 1], more[#more + 2] = 'z:' .. attempt, ending(t, outcome, err)
  finalize(id, k, t, outcome, output, err, more, r)
  count_times(r[2], r[4], t, usage)
  return {1, outcome}
end

if #ARGV[4] <= SMALL then pass_when_full() end
return together(1, #ARGV, 7, function(i) return finish(unpack(ARGV, i, i + 6)) end)
