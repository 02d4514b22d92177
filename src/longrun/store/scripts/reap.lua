-- Stop the open children of parents that have ended or are to stop, and erase the children of parents that are erased. ARGV: most (about), tombstone ms.
-- Returns how many were looked at, of the one whose turn has come first; 0 = nothing is left.
pass_when_full()
local t, n = now(), 0
local id = overdue('reap', t, 1)[1]
if not id then return 0 end
local k = record(id)
local r = redis.call('HMGET', k, 'reaped', 'gone', 'retried_by', 'status')
local erased = r[2] or not r[4]

-- Whether a child goes with this parent. A retry has a copy of the journal, and what it has taken over lives on with it, also when its own parent is gone.
local function goes(parent)
  if parent == id then return true end
  local p = redis.call('HMGET', record(parent), 'status', 'gone')
  return not p[1] or p[2]
end

if erased and r[3] then
  local heir = redis.call('HMGET', record(r[3]), 'status', 'gone')
  if heir[1] and not heir[2] then
    forget_steps(id)
    return 1
  end
end
local page = redis.call('HSCAN', journal_of(id), r[1] or '0', 'COUNT', ARGV[1])
for i = 1, #page[2], 2 do
  local child = string.match(page[2][i + 1], '^c (%S+) ')
  local s = child and redis.call('HMGET', record(child), 'status', 'attempt', 'worker', 'parent')
  if s and s[1] then
    if not erased then
      if s[4] == id then stop(child, record(child), t, s[1], s[2], s[3]) end
    elseif goes(s[4]) then
      if not TERMINAL[s[1]] then stop(child, record(child), t, s[1], s[2], s[3]) end
      erase(child, record(child), t, ARGV[2], FILES_AT_ONCE)
    end
  end
  n = n + 1
end
if page[1] ~= '0' then
  redis.call('HSET', k, 'reaped', page[1])
elseif erased then
  forget_steps(id)
else
  redis.call('ZREM', P .. 'reap', id)
  redis.call('HDEL', k, 'reaped')
end
return math.max(n, 1)
