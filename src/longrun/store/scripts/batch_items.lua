-- Records of a batch's items that were fed, in order. ARGV: batch, tenant, first index, most (<= 100), most bytes of outputs (the first one is given anyhow).
-- Returns {values of FIELDS or '' (gone), …}.
local b = batch_key(ARGV[1])
local r = redis.call('HMGET', b, 'tenant', 'fed')
if r[1] ~= ARGV[2] or not r[2] then return {} end
local first, left, out = tonumber(ARGV[3]), tonumber(ARGV[5]), {}
for i = first, math.min(first + ARGV[4], r[2]) - 1 do
  local k = record(item(ARGV[1], i))
  left = left - redis.call('HSTRLEN', k, 'output')
  if left < 0 and i > first then return out end
  local s = redis.call('HMGET', k, 'status', 'gone')
  out[#out + 1] = (s[1] and not s[2]) and redis.call('HMGET', k, unpack(FIELDS)) or ''
end
return out
