-- Files whose time is over, and those of erased jobs that were too many to go at once. ARGV: tombstone ms, most files (<= 100).
-- Returns how many were looked at.
pass_when_full()
local t, n, most = now(), 0, tonumber(ARGV[2])
for _, job in ipairs(redis.call('ZRANGE', P .. 'let-go', 0, most - 1)) do
  if n >= most then return n end
  -- A job counts as one, also when it has nothing left.
  n = n + math.max(1, release_files(job, t, ARGV[1], most - n))
end
if n >= most then return n end
for _, id in ipairs(overdue('file-expire', t, most - n)) do
  local r = redis.call('HMGET', file(id), 'key', 'expires')
  if r[1] and (r[2] or not needed(id)) then
    hide_file(id, t, ARGV[1], '1')
  else
    -- It lives with the jobs that need it, and goes with the last of them.
    redis.call('ZREM', P .. 'file-expire', id)
  end
  n = n + 1
end
return n
