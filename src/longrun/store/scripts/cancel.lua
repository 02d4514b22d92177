-- Ask a job to stop. ARGV: id, tenant. Returns {status after} | {'none'} | {'gone'}.
local id, k = ARGV[1], record(ARGV[1])
local r = redis.call('HMGET', k, 'tenant', 'gone', 'expires', 'status', 'attempt', 'worker')
if r[1] ~= ARGV[2] then return {'none'} end
local t, status = now(), r[4]
if r[2] or (r[3] and tonumber(r[3]) <= t) then return {'gone'} end
pass_when_full()
return {stop(id, k, t, status, r[5], r[6])}
