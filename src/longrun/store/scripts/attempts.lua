-- The attempts of a job. ARGV: id, tenant. Returns {n, begun, ended, usage, begun, …} | {-1} (gone) | {-2} (not there).
local k = record(ARGV[1])
local r = redis.call('HMGET', k, 'tenant', 'gone', 'expires', 'attempt')
if r[1] ~= ARGV[2] then return {-2} end
if r[2] or (r[3] and tonumber(r[3]) <= now()) then return {-1} end
local out = {tonumber(r[4])}
for n = math.max(1, out[1] - 99), out[1] do
  local a = redis.call('HMGET', k, 'a:' .. n, 'z:' .. n, 'u:' .. n)
  out[#out + 1] = a[1]
  out[#out + 1] = a[2] or ''
  out[#out + 1] = a[3] or ''
end
return out
