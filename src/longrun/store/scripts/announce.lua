-- A worker says what it runs, and keeps its name for a lease. ARGV: worker (its identity), its name, JSON, lease ms,
-- listed ('' = it only takes its name, and works later); JSON '' = it is leaving.
-- Returns nothing, or, when another live worker has the name: what that one has announced; nothing is changed then.
if ARGV[3] == '' then
  forget(ARGV[1])
  return false
end
local worker, name, lease = ARGV[1], P .. 'name:' .. ARGV[2], tonumber(ARGV[4])
local other, until_ = holder(ARGV[2])
if other and other ~= worker and other ~= NOBODY then
  if tonumber(until_) > now() then return redis.call('GET', P .. 'worker:' .. other) or '{}' end
  forget(other)
end
pass_when_full()
redis.call('SET', name, worker .. ' ' .. int(now() + lease), 'PX', int(3 * lease))
redis.call('SET', P .. 'worker:' .. worker, ARGV[3], 'PX', int(3 * lease))
if ARGV[5] ~= '' then redis.call('ZADD', P .. 'workers', int(now() + 3 * lease), worker) end
return false
