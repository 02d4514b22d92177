-- Records of a batch's items that were fed, in order. ARGV: batch, tenant, first index, most (<= 100), most bytes of outputs (the first one is given anyhow).
-- Returns {values of `fields_of` or '' (gone), …} | {'none'} | {'gone'}.
local r, refusal = theirs(batch_key(ARGV[1]), ARGV[2], 'fed')
if not r then return refusal end
local first, left, out = tonumber(ARGV[3]), tonumber(ARGV[5]), {}
for i = first, math.min(first + ARGV[4], r[4]) - 1 do
  local k = record(item(ARGV[1], i))
  left = left - redis.call('HSTRLEN', k, 'output')
  if left < 0 and i > first then return out end
  local s = redis.call('HMGET', k, 'status', 'gone')
  out[#out + 1] = (s[1] and not s[2]) and fields_of(k) or ''
end
return out
