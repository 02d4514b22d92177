-- Remove records whose time is over. ARGV: tombstone ms, most jobs (<= 100). Returns how many were looked at.
pass_when_full()
local t, n, files = now(), 0, FILES_AT_ONCE

-- Items are kept as long as their batch, whose results they are. While it goes on they are looked at again in an hour.
local function end_of(batch)
  local r = redis.call('HMGET', batch_key(batch), 'expires', 'gone', 'tenant')
  if r[2] or not r[3] then return 0 end
  return r[1] and tonumber(r[1]) + 1 or t + 3600000
end

for _, id in ipairs(overdue('expire', t, ARGV[2])) do
  local k = record(id)
  local r = redis.call('HMGET', k, 'expires', 'batch')
  local expires = tonumber(r[1] or 0)
  if r[2] then expires = end_of(r[2]) end
  if r[2] and expires > t then
    redis.call('ZADD', P .. 'expire', int(expires), id)
  elseif expires > t then
    -- retain_for 0: data goes now, status and error stay until `expires`.
    redis.call('HDEL', k, 'output', 'input', 'files', 'progress')
    files = files - release_files(id, t, ARGV[1], files)
    -- Of the events the last one stays: who asks for the others gets a gap, and then `done`.
    local log = P .. 'ev:' .. id
    redis.call('HINCRBY', k, 'base', math.max(0, redis.call('LLEN', log) - 1))
    redis.call('LTRIM', log, -1, -1)
    redis.call('HDEL', k, 'log_bytes')
    redis.call('ZADD', P .. 'expire', int(expires), id)
  else
    files = files - erase(id, k, t, ARGV[1], files)
  end
  n = n + 1
end
return n
