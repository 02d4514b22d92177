-- Batches that somebody must go on with: to be fed, or to be canceled. Those whose time is over go. ARGV: most (<= 100), tombstone ms,
-- ms until they are looked at again. Returns their ids.
pass_when_full()

local t, out = now(), {}
for _, id in ipairs(overdue('batch-due', t, ARGV[1])) do
  local b = batch_key(id)
  local r = redis.call('HMGET', b, 'status', 'expires')
  if r[1] == 'open' then
    redis.call('ZADD', P .. 'batch-due', int(t + ARGV[3]), id)
    out[#out + 1] = id
  elseif r[1] and r[2] and tonumber(r[2]) > t then
    redis.call('ZADD', P .. 'batch-due', r[2], id)
  elseif r[1] then
    -- Its items find out that it has gone when their own time comes (expire.lua).
    leave_tombstone(id, b, 'batches', ARGV[2])
    redis.call('ZREM', P .. 'batch-due', id)
  else
    -- It was never accepted.
    redis.call('ZREM', P .. 'batch-due', id)
    release_files(id, t, ARGV[2], FILES_AT_ONCE)
  end
end
return out
