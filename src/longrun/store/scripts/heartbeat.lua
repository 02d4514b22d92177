-- Renew claims. ARGV: lease ms, then id, fence, id, fence, … (<= 100 jobs). Returns one number a job: 1 kept, 2 kept and to be canceled,
-- 3 kept, and what it waits for has come (it was published too, but that may be lost), 0 lost.
pass_when_full()
local t, out = now(), {}
local until_ = int(t + ARGV[1])
for i = 2, #ARGV, 2 do
  local k = record(ARGV[i])
  local mine, status = has_claim(k, ARGV[i + 1])
  if mine then redis.call('ZADD', P .. 'lease', until_, ARGV[i]) end
  if not mine then out[#out + 1] = 0
  elseif status == 'canceling' then out[#out + 1] = 2
  elseif status == 'waiting' and has_come(ARGV[i], t, redis.call('HMGET', k, 'wake_at', 'until')) then out[#out + 1] = 3
  else out[#out + 1] = 1 end
end
return out
