-- What /workers, /stats and /metrics show. Returns {workers' JSON…}, {stats field, value, …}, number of claimed jobs, server time.
redis.call('ZREMRANGEBYSCORE', P .. 'workers', '-inf', int(now()))
local workers = {}
for _, name in ipairs(redis.call('ZRANGE', P .. 'workers', 0, 999)) do
  local w = redis.call('GET', P .. 'worker:' .. name)
  if w then workers[#workers + 1] = w end
end
return {workers, redis.call('HGETALL', P .. 'stats'), redis.call('ZCARD', P .. 'lease'), int(now())}
