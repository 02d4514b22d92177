-- Cancel the next items of a batch that is to stop. ARGV: batch, most (<= 100). Returns how many are left to be looked at.
pass_when_full()
local b, t = batch_key(ARGV[1]), now()
local r = redis.call('HMGET', b, 'fed', 'stopped', 'status')
if not r[2] or r[3] ~= 'open' then return 0 end
local fed, next = tonumber(r[1]), tonumber(r[2])
local last = math.min(next + ARGV[2], fed)
redis.call('HSET', b, 'stopped', int(last))
-- Before the end of the last item gives the batch a later time.
if last >= fed then redis.call('ZREM', P .. 'batch-due', ARGV[1]) end
for i = next, last - 1 do
  local id = item(ARGV[1], i)
  local s = redis.call('HMGET', record(id), 'status', 'attempt', 'worker')
  if s[1] then stop(id, record(id), t, s[1], s[2], s[3]) end
end
return fed - last
