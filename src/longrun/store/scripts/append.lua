-- Append events of an attempt. ARGV: id, attempt, number of the first (0-based, per attempt), progress JSON ('' = none), then type, data, type, data, …
-- Returns {1} | {0} (stale: another attempt owns the job, or it has ended). Events that arrived before are skipped.
local id, k, attempt = ARGV[1], record(ARGV[1]), ARGV[2]
if not owns(k, attempt) then return {0} end
local size = 0
for i = 6, #ARGV, 2 do size = size + #ARGV[i] end
if size <= SMALL then pass_when_full() end
local have, number, t = tonumber(redis.call('HGET', k, 'local') or 0), tonumber(ARGV[3]), now()
local added = 0
for i = 5, #ARGV, 2 do
  if number >= have then
    event(id, attempt, t, ARGV[i], ARGV[i + 1])
    added = added + 1
  end
  number = number + 1
end
if added > 0 then
  redis.call('HSET', k, 'local', number)
  if ARGV[4] ~= '' then
    redis.call('HSET', k, 'progress', ARGV[4], 'progress_at', int(t))
    redis.call('HINCRBY', k, 'version', 1)
  end
  note(id, 'events')
end
return {1}
