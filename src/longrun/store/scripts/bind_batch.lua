-- Keep files for a batch that is about to be accepted, until its items need them. ARGV: batch, tenant, ms until they go when it never is, ids (<= 100).
-- Returns {1} | {0, file id} (not there, gone, or another tenant's: nothing was done). Sent twice: the same.
local batch, t = ARGV[1], now()
for i = 4, #ARGV do
  local r = redis.call('HMGET', file(ARGV[i]), 'tenant', 'gone', 'expires')
  if r[1] ~= ARGV[2] or r[2] or (r[3] and tonumber(r[3]) <= t) then return {0, ARGV[i]} end
end
-- Never accepted, it is let go by due_batches.lua.
redis.call('ZADD', P .. 'batch-due', 'NX', int(t + ARGV[3]), batch)
for i = 4, #ARGV do bind_file(ARGV[i], batch) end
return {1}
