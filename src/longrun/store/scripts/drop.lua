-- Nobody waits for these steps any more: children are asked to stop, and the journal says that the await was given up in this epoch, so that a replay does not
-- answer it either. ARGV: parent, fence, key, … (<= 100). Returns {1} | {0, status} (stale).
local parent, k, journal = ARGV[1], record(ARGV[1]), journal_of(ARGV[1])
local mine, status = has_claim(k, ARGV[2])
if not mine then return {0, status or 'gone'} end
pass_when_full()
local epoch, t, timers = redis.call('HGET', k, 'epoch') or '0', now(), 0
for i = 3, #ARGV do
  if redis.call('HEXISTS', journal, ARGV[i]) == 1 then redis.call('HSET', journal, 'x:' .. ARGV[i], epoch) end
  timers = timers + redis.call('ZREM', timers_of(parent), ARGV[i])
  stop_step(parent, redis.call('HGET', journal, ARGV[i]), t)
end
if timers > 0 then show_asks(parent, k) end
return {1}
