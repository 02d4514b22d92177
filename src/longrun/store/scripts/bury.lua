-- Have the children go of a job that went, or whose data did: otherwise each would be looked at when its time comes. ARGV: tombstone ms, most (<= 100).
-- Returns how many journals and entries of them were looked at. Children of a tree that is kept, because a retry has taken them over, stay.
pass_when_full()
local t, n, files = now(), 0, FILES_AT_ONCE

-- Whether it is still there because it has not ended.
local function bury(child, parent)
  local k = record(child)
  local r = redis.call('HMGET', k, 'status', 'gone', 'parent', 'attempt', 'worker')
  if not r[1] or r[2] then return false end
  if TERMINAL[r[1]] then
    files = files - age(child, t, ARGV[1], files)
    return false
  end
  if r[3] ~= parent then return false end
  return not TERMINAL[stop(child, k, t, r[1], r[4], r[5])]
end

-- What steps of the job itself had as their results, and what people answered, goes with the data.
local function strip(journal, key, entry)
  local kept = string.match(entry, '^[dw] %S+ %S+ %S+ ')
  if kept then redis.call('HSET', journal, key, kept .. 'null') end
  if string.sub(key, 1, 2) == 'v:' and string.sub(entry, 1, 1) ~= '!' then redis.call('HSET', journal, key, 'null') end
end

for _, id in ipairs(overdue('bury', t, ARGV[2])) do
  if n >= tonumber(ARGV[2]) then return n end
  local k, journal = record(id), journal_of(id)
  local r = redis.call('HMGET', k, 'gone', 'buried')
  local cursor, open = string.match(r[2] or '0 0', '^(%d+) (%d)$')
  local piece = redis.call('HSCAN', journal, cursor, 'COUNT', ARGV[2])
  for i = 1, #piece[2], 2 do
    local key, entry = piece[2][i], piece[2][i + 1]
    local child = string.match(entry, '^c (%S+) ')
    n = n + 1
    if not child and not r[1] then strip(journal, key, entry) end
    while child do
      -- One that was made anew after a retry names the one before it.
      local before = redis.call('HGET', record(child), 'retry_of')
      if bury(child, id) then open = '1' end
      child = before
    end
  end
  if piece[1] ~= '0' then
    redis.call('HSET', k, 'buried', piece[1] .. ' ' .. open)
  else
    redis.call('HDEL', k, 'buried')
    if open == '1' then
      redis.call('ZADD', P .. 'bury', int(t + 1000), id)
    else
      redis.call('ZREM', P .. 'bury', id)
      if r[1] then redis.call('UNLINK', journal, ends_of(id), timers_of(id)) end
    end
  end
  n = n + 1
end
return n
