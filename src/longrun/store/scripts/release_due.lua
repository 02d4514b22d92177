-- Queue delayed and retrying jobs whose time has come, and parents that sleep until then; wake those that wait in a worker. Expire those whose time to
-- wait is over. ARGV: most jobs (<= 100). Returns how many were moved.
pass_when_full()
local t, n = now(), 0
for _, id in ipairs(overdue('due', t, ARGV[1])) do
  local k = record(id)
  local r = redis.call('HMGET', k, 'status', 'worker')
  local status = r[1]
  redis.call('ZREM', P .. 'due', id)
  if status == 'scheduled' or status == 'retrying' then
    redis.call('HDEL', k, 'due')
    enqueue(id, k, false)
    note(id, 'queued')
  elseif status == 'asleep' then
    wake_up(id, k)
  elseif status == 'waiting' then
    redis.call('PUBLISH', P .. 'ctl:' .. r[2], 'step ' .. id)
  end
  n = n + 1
end
for _, id in ipairs(overdue('deadline', t, ARGV[1] - n)) do
  local k = record(id)
  local r = redis.call('HMGET', k, 'status', 'attempt')
  redis.call('ZREM', P .. 'deadline', id)
  if r[1] == 'queued' or r[1] == 'scheduled' or r[1] == 'retrying' or r[1] == 'asleep' then expire(id, k, t, r[2]) end
  n = n + 1
end
return n
