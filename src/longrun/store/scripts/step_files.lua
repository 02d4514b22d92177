-- Records of files that a parent's tenant has. ARGV: parent, fence, then ids (<= 100). Returns {1, JSON, …}, those that are there | {0} (stale).
local k = record(ARGV[1])
if not has_claim(k, ARGV[2]) then return {0} end
local tenant, out = redis.call('HGET', k, 'tenant'), {1}
for i = 3, #ARGV do
  local r = theirs(file(ARGV[i]), tenant, 'ref')
  if r then out[#out + 1] = r[4] end
end
return out
