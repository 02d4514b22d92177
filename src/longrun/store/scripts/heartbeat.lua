-- Renew claims. ARGV: lease ms, then id, fence, id, fence, … (<= 100 jobs). Returns one number a job: 1 kept, 2 kept and to be canceled, 0 lost.
pass_when_full()
local until_, out = int(now() + ARGV[1]), {}
for i = 2, #ARGV, 2 do
  local mine, status = owns(record(ARGV[i]), ARGV[i + 1])
  if mine then redis.call('ZADD', P .. 'lease', until_, ARGV[i]) end
  out[#out + 1] = mine and (status == 'canceling' and 2 or 1) or 0
end
return out
