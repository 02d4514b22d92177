-- Append events of an attempt, and let the oldest of the log go when it is over its limits.
-- ARGV: id, attempt, number of the first (0-based, per attempt), progress JSON ('' = none), most events, most bytes, then type, data, type, data, …
-- Returns {1} | {0} (stale: another attempt owns the job, or it has ended). Events that arrived before are skipped.
local id, k, attempt = ARGV[1], record(ARGV[1]), ARGV[2]
if not owns(k, attempt) then return {0} end
local size = 0
for i = 8, #ARGV, 2 do size = size + #ARGV[i] end
if size <= SMALL then pass_when_full() end
local r = redis.call('HMGET', k, 'local', 'base')
local have, base, number, t = tonumber(r[1] or 0), tonumber(r[2] or 0), tonumber(ARGV[3]), now()
local added = {}
for i = 7, #ARGV, 2 do
  if number >= have then added[#added + 1] = entry(attempt, t, ARGV[i], ARGV[i + 1]) end
  number = number + 1
end
if #added == 0 then return {1} end
local count = log(id, added)
redis.call('HSET', k, 'local', number)
if ARGV[4] ~= '' then
  redis.call('HSET', k, 'progress', ARGV[4], 'progress_at', int(t))
  redis.call('HINCRBY', k, 'version', 1)
end

-- The limits. Each call lets go of a bounded number of entries, more than it brought: what one large event leaves to do is done by the next calls.
local most, bytes, pops = tonumber(ARGV[5]), tonumber(ARGV[6]), 2 * #added + 100
local held, gone, freed, cut = tonumber(redis.call('HGET', k, 'log_bytes')), 0, 0, nil
while gone < pops and count - gone > 1 and (count - gone > most or held - freed > bytes) do
  local e = redis.call('LPOP', P .. 'ev:' .. id)
  gone, freed = gone + 1, freed + #e
  cut = string.match(e, '^(%d+) %d+ output ') or cut
end
if gone > 0 then
  redis.call('HINCRBY', k, 'base', gone)
  redis.call('HINCRBY', k, 'log_bytes', -freed)
  if cut then redis.call('HSET', k, 'cut', cut) end
end

-- Small events travel with the note, so that a reader that is in step need not ask for them (`jobs.events.carried`). No JSON text holds a NUL.
if size <= SMALL then
  note(id, 'events ' .. int(base + count - #added + 2) .. '\0' .. table.concat(added, '\0'))
else
  note(id, 'events')
end
return {1}
