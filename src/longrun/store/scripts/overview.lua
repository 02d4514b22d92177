-- What /readyz, /workers, /stats and /metrics show.
-- Returns {workers' JSON…}, {stats field, value, …}, number of claimed jobs, server time, {part in trouble, text, …}, {times field, value, …}.
local t = now()
redis.call('ZREMRANGEBYSCORE', P .. 'workers', '-inf', int(t))
local workers = {}
for _, name in ipairs(redis.call('ZRANGE', P .. 'workers', 0, 999)) do
  local w = redis.call('GET', P .. 'worker:' .. name)
  if w then workers[#workers + 1] = w end
end
local trouble, all = {}, redis.call('HGETALL', P .. 'trouble')
for i = 1, #all, 2 do
  local until_, text = string.match(all[i + 1], '^(%d+) (.*)$')
  if tonumber(until_) > t then
    trouble[#trouble + 1], trouble[#trouble + 2] = all[i], text
  else
    redis.call('HDEL', P .. 'trouble', all[i])
  end
end
return {workers, redis.call('HGETALL', P .. 'stats'), redis.call('ZCARD', P .. 'lease'), int(t), trouble, redis.call('HGETALL', P .. 'times')}
