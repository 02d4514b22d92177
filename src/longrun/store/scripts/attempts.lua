-- The attempts of a job. ARGV: id, tenant. Returns {n, begun, ended, usage, begun, …} | {'none'} | {'gone'}.
local k = record(ARGV[1])
local r, refusal = theirs(k, ARGV[2], 'attempt')
if not r then return refusal end
local out = {tonumber(r[4])}
for n = math.max(1, out[1] - 99), out[1] do
  local a = redis.call('HMGET', k, 'a:' .. n, 'z:' .. n, 'u:' .. n)
  for i = 1, 3 do out[#out + 1] = a[i] or '' end
end
return out
