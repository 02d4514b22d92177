-- Stop the open children of parents that have ended or are to stop. ARGV: most (about; of a small journal all).
-- Returns how many were looked at, of the parent whose turn has come first; 0 = nothing is left.
pass_when_full()
local t, n = now(), 0
local id = overdue('reap', t, 1)[1]
if not id then return 0 end
local k, journal = record(id), journal_of(id)
local page = redis.call('HSCAN', journal, redis.call('HGET', k, 'reaped') or '0', 'COUNT', ARGV[1])
for i = 1, #page[2], 2 do
  if string.sub(page[2][i + 1], 1, 2) == 'c ' then stop_step(id, page[2][i + 1], t) end
  n = n + 1
end
if page[1] == '0' then
  redis.call('ZREM', P .. 'reap', id)
  redis.call('HDEL', k, 'reaped')
else
  redis.call('HSET', k, 'reaped', page[1])
end
return math.max(n, 1)
