-- The value of a signal did not fit: it is dropped, and the wait for it is open again. ARGV: parent, fence, name,
-- the value ('' = whatever is there). Returns {1} | {0, status} (stale). Sent twice, it does not drop another value that has come since.
local parent, k, journal, key = ARGV[1], record(ARGV[1]), journal_of(ARGV[1]), 's:' .. ARGV[3]
local mine, status = has_claim(k, ARGV[2])
if not mine then return {0, status or 'gone'} end
pass_when_full()
local r = redis.call('HMGET', journal, 'v:' .. ARGV[3], key)
if not r[1] or string.sub(r[1], 1, 1) == '!' or (ARGV[4] ~= '' and r[1] ~= ARGV[4]) then return {1} end
redis.call('HDEL', journal, 'v:' .. ARGV[3])
if not r[2] then redis.call('HINCRBY', k, 'signals', -1) end
local due = r[2] and string.match(r[2], '^w (%d+) ')
if due then
  redis.call('ZADD', timers_of(parent), due, key)
  redis.call('HINCRBY', k, 'kids', 1)
  show_asks(parent, k)
end
return {1}
