-- Stop the open children of parents that have ended or are to stop. ARGV: most (about).
-- Returns how many were looked at, of the one whose turn has come first; 0 = nothing is left. What becomes of them when the parent is erased: bury.lua.
pass_when_full()
local t, n = now(), 0
local id = overdue('reap', t, 1)[1]
if not id then return 0 end
local k = record(id)
local page = redis.call('HSCAN', journal_of(id), redis.call('HGET', k, 'reaped') or '0', 'COUNT', ARGV[1])
for i = 1, #page[2], 2 do
  local child = string.match(page[2][i + 1], '^c (%S+) ')
  local s = child and redis.call('HMGET', record(child), 'status', 'attempt', 'worker', 'parent')
  -- What a retry has taken over is not its own.
  if s and s[1] and s[4] == id then stop(child, record(child), t, s[1], s[2], s[3]) end
  n = n + 1
end
if page[1] ~= '0' then
  redis.call('HSET', k, 'reaped', page[1])
else
  redis.call('ZREM', P .. 'reap', id)
  redis.call('HDEL', k, 'reaped')
end
return math.max(n, 1)
