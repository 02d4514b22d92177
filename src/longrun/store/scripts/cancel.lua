-- Ask a job to stop. ARGV: id, tenant. Returns {status after} | {'none'} | {'gone'}.
local id, k = ARGV[1], record(ARGV[1])
local r = redis.call('HMGET', k, 'tenant', 'gone', 'expires', 'status', 'attempt', 'worker')
if r[1] ~= ARGV[2] then return {'none'} end
local t, status = now(), r[4]
if r[2] or (r[3] and tonumber(r[3]) <= t) then return {'gone'} end
pass_when_full()
if status == 'running' then
  redis.call('HSET', k, 'status', 'canceling')
  redis.call('HINCRBY', k, 'version', 1)
  event(id, r[5], t, 'canceling', '{}')
  note(id, 'canceling')
  redis.call('PUBLISH', P .. 'ctl:' .. r[6], 'cancel ' .. id)
  return {'canceling'}
end
if status ~= 'canceling' and not TERMINAL[status] then
  finalize(id, k, t, 'canceled', nil, failure('canceled', 'The job was canceled before it ran.', r[5]))
  return {'canceled'}
end
return {status}
