-- Re-queue jobs whose lease ran out. ARGV: lease ms, most jobs (<= 100). Returns {id, status after, id, status after, …}.
-- A store that was down or frozen let nobody renew: when no sweep ran for half a lease, nothing expires for one full lease.
pass_when_full()
local t, lease = now(), tonumber(ARGV[1])
local last = tonumber(redis.call('GET', P .. 'swept') or 0)
redis.call('SET', P .. 'swept', int(t))
if t - last > lease / 2 then redis.call('SET', P .. 'amnesty', int(t + lease), 'PX', int(lease)) end
if redis.call('EXISTS', P .. 'amnesty') == 1 then return {} end
local out = {}
for _, id in ipairs(overdue('lease', t, ARGV[2])) do
  local k = record(id)
  local r = redis.call('HMGET', k, 'status', 'attempt')
  if r[1] == 'running' or r[1] == 'waiting' or r[1] == 'canceling' then
    take_back(id, k, t, r[2], out)
  else
    redis.call('ZREM', P .. 'lease', id)
  end
end
-- Only a clock that was set back explains a claim that is to hold this long.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'lease', int(t + 4 * lease), '+inf', 'LIMIT', 0, ARGV[2])) do
  redis.call('ZADD', P .. 'lease', int(t + lease), id)
end
return out
